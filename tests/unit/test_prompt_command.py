"""`scail2 prompt` from files to a prompt, through a server on this machine that speaks both protocols."""

from __future__ import annotations

import io
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import write_video
from language_server import CAPTION, KEY, PROMPT, LanguageServer, answers, fails, raw, said, slow
from PIL import Image

from scail_model.headless import prompt_asking
from scail_model.headless.cli import main
from scail_model.video import voice

PACK = Path(__file__).parents[2]
BACKENDS = ("gemini", "openai")
LEVELS = [20 * number for number in range(12)]  # of grey, one for each frame
both = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A video whose frames can be told apart by their grey, and a red picture."""
    folder = tmp_path_factory.mktemp("files")
    frames = np.array(LEVELS, np.uint8)[:, None, None, None].repeat(64, 1).repeat(48, 2).repeat(3, 3)
    write_video(folder / "dance.mp4", frames)
    Image.new("RGB", (40, 60), (250, 0, 0)).save(folder / "anna.png")
    return folder


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY", "GEMINI_BASE_URL", "OPENAI_BASE_URL",
                 "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(prompt_asking, "PAUSES", (0.01, 0.01))


@pytest.fixture
def write(files, capsys, monkeypatch):
    """Run the command against a server that replies so; returns exit status, stdout, stderr and what was seen."""

    def run(backend, reply=None, *flags, key=KEY):
        if key:
            monkeypatch.setenv(f"{backend.upper()}_API_KEY", key)
        with LanguageServer(reply) as server:
            address = server.url + ("/v1" if backend == "openai" else "")
            monkeypatch.setenv(f"{backend.upper()}_BASE_URL", address)
            status = main(["prompt", "--video", str(files / "dance.mp4"), "--image", str(files / "anna.png"),
                           "--backend", backend, "--model", "parrot-7b", *map(str, flags)])
        out, err = capsys.readouterr()
        assert KEY not in out + err
        return status, out, err, server.seen

    return run


def failure(result):
    status, out, err, _ = result
    assert [status, out] == [1, ""]
    last = err.splitlines()[-1]
    assert last.startswith("scail2: ")
    assert last.endswith(".")
    return last.removeprefix("scail2: ")


def colour(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3).mean(0)


@both
def test_a_good_answer(backend, write, tmp_path):
    status, out, err, (first, second) = write(backend, None, "--instruction", "anna dances", "--output",
                                              tmp_path / "prompt.txt", "--caption_out", tmp_path / "caption.txt")
    assert [status, out] == [0, f"{PROMPT}\n"]
    assert (tmp_path / "prompt.txt").read_text() == f"{PROMPT}\n"
    assert (tmp_path / "caption.txt").read_text() == f"{CAPTION}\n"
    assert [first.model, first.temperature, first.key] == ["parrot-7b", 0.4, KEY]
    assert [round(colour(picture)[0] / 20) for picture in first.pictures] == [0, 2, 3, 5, 6, 8, 9, 11]
    assert len(second.pictures) == 1
    assert colour(second.pictures[0]) == pytest.approx([250, 0, 0], abs=6)
    assert "anna dances" in first.text
    assert CAPTION in second.text
    assert "Keep the place, the light and the camera." in second.text
    assert "For replacement: " in err


def test_the_official_command_line_asks_geminis_own_model(files, monkeypatch, capsys):
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    with LanguageServer() as server:
        monkeypatch.setenv("GEMINI_BASE_URL", server.url)
        assert main(["prompt", "--video", str(files / "dance.mp4"), "--image", str(files / "anna.png"), "--instruction",
                     "x", "--temperature", "0.9", "--max_example_chars", "20", "--num_frames", "1"]) == 0
    first, second = server.seen
    assert [first.model, first.temperature] == ["gemini-3-flash-preview", 0.9]
    assert [round(colour(picture)[0] / 20) for picture in first.pictures] == [6]
    assert "Examples of the style:\nExample 1. A woman i\n\n" in second.text


@both
def test_animation_and_examples_of_ones_own(backend, write, tmp_path):
    (tmp_path / "mine.txt").write_text("MY STYLE")
    status, _, err, (_, second) = write(backend, None, "--mode", "animation", "--examples", tmp_path / "mine.txt")
    assert status == 0
    assert "MY STYLE" in second.text
    assert "in the scene of that picture" in second.text
    assert "For animation" in err


@both
def test_a_server_of_ones_own_needs_no_key(backend, write):
    status, _, _, seen = write(backend, None, key=None)
    assert [status, seen[0].key] == [0, "none"]


@both
@pytest.mark.parametrize(("reply", "expected"), [
    (answers(""), "The answer of parrot-7b is empty"),
    (answers(None), "The answer of parrot-7b is empty"),
    (answers("I'm sorry, I can't."), 'The answer of parrot-7b is a refusal ("I\'m sorry'),
    (answers("", ending="content_filter"), "The answer of parrot-7b is a refusal ("),
    (answers("A man walks along a", ending="length"), "The answer of parrot-7b breaks off at the largest length"),
    (answers(CAPTION, "Replace the man with the woman."), 'The answer of parrot-7b says "Replace"'),
    (fails(429, "quota"), 'still has too many requests (429, "quota"): wait'),
    (fails(500, "oops"), 'is broken or overloaded (500, "oops"): try again later'),
    (fails(401, f"wrong key {KEY}"), "does not accept the key (401): check"),
    (fails(403, "no"), "does not accept the key (403): check"),
    (fails(404, "model not found"), "There is no model parrot-7b at http://127.0.0.1:"),
    (fails(400, f"too many pictures for {KEY}"), 'refuses the request for parrot-7b (400, "too many pictures for '
                                                 '...")'),
    (raw(b"<html>hello</html>", "text/html"), "is not an answer of this protocol (it "),
    (raw(b'{"candidates": [{"con'), "is not an answer of this protocol (it is not JSON)"),
    (raw(b'{"hello": 1}'), "is not an answer of this protocol (it has no"),
    (raw(b"[1, 2]"), "is not an answer of this protocol (it has no"),
    (raw(b'{"choices": [{"message": {"content": 5}}], "candidates": 5}'), "is not an answer of this protocol (it"),
])
def test_wrong_answers_give_one_sentence(backend, reply, expected, write):
    assert expected in failure(write(backend, reply))


def message(content, ending="stop", **others):
    """A whole answer of OpenAI's protocol with a message of another form."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content} | others, "finish_reason": ending}
    return json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "m",
                       "choices": [choice]}).encode()


def states(status, content, **headers):
    return lambda seen: (status, content, {name.title(): value for name, value in headers.items()})


@pytest.mark.parametrize("form", [
    lambda text: message([{"type": "text", "text": text}]),
    lambda text: message([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text",
                                                                                               "text": text}]),
    lambda text: message(f"The user wants to replace him.\n</think>\n\n{text}<|im_end|>"),
    lambda text: message(text, reasoning_content="The user wants", tool_calls=None),
], ids=["parts", "parts with thoughts", "thoughts", "thoughts apart"])
def test_other_forms_of_a_good_answer(form, write, tmp_path):
    def reply(seen):
        return 200, form((CAPTION, PROMPT)[seen.number]), {}

    status, out, _, seen = write("openai", reply, "--caption_out", tmp_path / "caption.txt")
    assert [status, out, len(seen)] == [0, f"{PROMPT}\n", 2]
    assert (tmp_path / "caption.txt").read_text() == f"{CAPTION}\n"


@pytest.mark.parametrize(("reply", "expected"), [
    (raw(message(None, tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}])),
     "The answer of parrot-7b is empty"),
    (raw(message("", "length", reasoning_content="The user wants")), "reaches the largest length of an answer before"),
    (raw(message([{"type": "audio", "audio": "..."}])), "is not an answer of this protocol (its content is not text)"),
    (raw(b'data: {"choices": []}\n\ndata: [DONE]\n\n', "text/event-stream"), "(it is a stream)"),
    (raw(b'{"error": {"message": "busy", "code": 502}}'), 'is broken or overloaded (502, "busy")'),
    (states(400, b'{"error": "not multimodal"}'), 'refuses the request for parrot-7b (400, "not multimodal")'),
    (states(404, b'{"detail": "Not Found"}'), '(404, "Not Found"): check --model and --base_url'),
    (states(502, b"<html>nginx</html>", content_type="text/html"), "is broken or overloaded (502): try again later"),
])
def test_other_servers_of_openais_protocol(reply, expected, write):
    assert expected in failure(write("openai", reply))


@both
@pytest.mark.parametrize("status", [301, 307])
def test_a_server_that_sends_on_is_named(backend, status, write):
    result = write(backend, states(status, b"", location=f"https://user:secret@other.example/v1?key={KEY}"))
    assert f"sends on to https://other.example/v1 ({status}): give the address of that server" in failure(result)
    assert len(result[3]) == 1


@both
@pytest.mark.parametrize("key", ["sk-of-the-test\nsk-4711", "'sk 4711'", "sk-4711\x01", "sk-4711\u00df"])
def test_a_key_that_is_none_is_not_shown(backend, key, write):
    result = write(backend, None, key=key)
    assert "has characters that no key has" in failure(result)
    assert "4711" not in result[2]


@both
def test_an_empty_model(backend, write):
    assert failure(write(backend, None, "--model", "")) == "There is no model: name one of the server's with --model."


@both
@pytest.mark.parametrize(("name", "value", "expected"), [
    ("HTTP_PROXY", "http://me:secret@127.0.0.1:9", "(through the proxy 127.0.0.1:9) cannot be reached ("),
    ("HTTP_PROXY", "http://127.0.0.1:none", "does not start (Invalid port"),
    ("ALL_PROXY", "foo://127.0.0.1", "does not start ("),
    ("SSL_CERT_FILE", "none.pem", "does not start ([Errno 2] No such file or directory): check the address, and "),
])
def test_proxies_and_certificates_of_the_environment(backend, name, value, expected, write, monkeypatch):
    monkeypatch.setenv(name, value)
    result = write(backend)
    assert expected in failure(result)
    assert "secret" not in result[2]


@both
def test_empty_variables_are_none(backend, write, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "")
    assert write(backend)[0] == 0


@both
def test_a_certificate_of_ones_own(backend, write, tmp_path, monkeypatch):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", tmp_path / "key.pem", "-out",
                    tmp_path / "own.pem", "-days", "2", "-nodes", "-subj", "/CN=127.0.0.1", "-addext",
                    "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem", tmp_path / "key.pem")
    with LanguageServer(secure=context) as server:
        address = server.url + ("/v1" if backend == "openai" else "")
        assert f"The certificate of {address} is not trusted (" in failure(write(backend, None, "--base_url", address))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
        assert write(backend, None, "--base_url", address)[:2] == (0, f"{PROMPT}\n")
    with LanguageServer() as server:
        assert "check the address, http or https" in failure(
            write(backend, None, "--base_url", server.url.replace("http:", "https:")))


def test_geminis_word_for_a_wrong_key(write):
    message = "API key not valid. Please pass a valid API key."
    assert "does not accept the key (401): check GEMINI_API_KEY or GOOGLE_API_KEY" in failure(
        write("gemini", fails(400, message)))


@both
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(backend, status, write):
    code, out, err, seen = write(backend, fails(status, "busy", times=2))
    assert [code, out, len(seen)] == [0, f"{PROMPT}\n", 4]
    assert err.count("asked again in 0.01 s") == 2


def test_the_pause_that_a_server_asks_for_is_kept(write):
    started = time.monotonic()
    assert write("openai", fails(429, "busy", times=1, retry_after="0.5"))[0] == 0
    assert time.monotonic() - started > 0.5
    assert "still has too many requests" in failure(write("openai", fails(429, "busy", retry_after="3600")))


def test_a_model_with_a_fixed_temperature_is_asked_without_one(write):
    def reply(seen):
        if seen.temperature is not None:
            return fails(400, "Unsupported value: 'temperature'")(seen)
        return said(seen, CAPTION if "Describe this video" in seen.text else PROMPT)

    assert write("openai", reply)[:2] == (0, f"{PROMPT}\n")


@both
def test_a_description_that_is_paid_for_is_kept(backend, write, tmp_path):
    failure(write(backend, answers(CAPTION, "Swap them.", "Swap them."), "--caption_out", tmp_path / "caption.txt"))
    assert (tmp_path / "caption.txt").read_text() == f"{CAPTION}\n"


@both
def test_a_slow_server(backend, write):
    assert "has not answered within 0.3 s: wait longer with --timeout" in failure(
        write(backend, slow(1.5), "--timeout", 0.3))


@both
def test_who_waits_hears_something(backend, write, monkeypatch):
    monkeypatch.setattr(voice, "SILENCE", 0.2)
    monkeypatch.setattr("scail_model.headless.terminal.SILENCE", 0.2)
    _, _, err, _ = write(backend, slow(1.0))
    assert err.count("parrot-7b describes the video\n") > 2


@both
def test_no_server(backend, files, monkeypatch, capsys):
    status = main(["prompt", "--video", str(files / "dance.mp4"), "--image", str(files / "anna.png"), "--backend",
                   backend, "--model", "m", "--base_url", "http://user:secret@127.0.0.1:9/v1"])
    out, err = capsys.readouterr()
    assert "http://127.0.0.1:9/v1 cannot be reached (" in failure((status, out, err, []))
    assert "secret" not in err


@pytest.mark.parametrize(("backend", "flags", "expected"), [
    ("gemini", [], "There is no key for https://generativelanguage.googleapis.com: set GEMINI_API_KEY or "
                   "GOOGLE_API_KEY in the environment"),
    ("openai", ["--model", "m"], "There is no key for https://api.openai.com/v1: set OPENAI_API_KEY"),
    ("openai", ["--base_url", "http://127.0.0.1:9/v1"], "There is no model: name one of the server's with --model."),
    ("openai", ["--base_url", "localhost:9"], "The address localhost:9 (--base_url) is not one of a server"),
    ("gemini", ["--base_url", f"127.0.0.1:9/v1?key={KEY}"], "The address 127.0.0.1:9/v1 (--base_url) is not one of"),
    ("gemini", ["--base_url", "http://[::1"], "The address http://[::1 (--base_url) is not one of a server"),
    ("gemini", ["--api_key", KEY], "A key on the command line (--api_key) can be read by every user"),
    ("gemini", ["--api_key"], "A key on the command line (--api_key) can be read by every user"),
    ("gemini", ["--temperature", "3"], "The temperature is 3 (--temperature): give 0 to 2."),
    ("gemini", ["--temperature", "nan"], "The temperature is nan (--temperature): give 0 to 2."),
    ("gemini", ["--num_frames", "0"], "The number of frames is 0 (--num_frames): give 1 to 64."),
    ("gemini", ["--timeout", "0"], "The longest wait is 0 s (--timeout)"),
    ("gemini", ["--max_example_chars", "-1"], "The number of characters is -1 (--max_example_chars)"),
    ("openai", ["--model", "m", "--instruction", "caf\udce9"], "The text of --instruction is not in the "
                                                               "encoding of this machine"),
    ("gemini", ["--video", "none.mp4"], "The driving video none.mp4 does not exist: check the path."),
    ("gemini", ["--image", "none.png"], "The reference none.png does not exist: check the path."),
    ("gemini", ["--output", "no/where.txt"], "The folder no (--output) does not exist: make it first."),
    ("gemini", ["--output", "{files}/dance.mp4"], "dance.mp4 (--output) exists: choose another name, or add "
                                                  "--overwrite."),
    ("gemini", ["--output", "a.txt", "--caption_out", "a.txt"], "a.txt is named for the prompt and the description"),
    ("gemini", ["--output", "{files}", "--overwrite"], "(--output) is a folder: name a file"),
    ("gemini", ["--examples", "none.txt"], "The examples file none.txt cannot be read"),
    ("gemini", ["--base_url", "http://127.0.0.1:9", "--ckpt_dir", "none"], "The folder none (--ckpt_dir) does not "
                                                                           "exist"),
    ("gemini", ["--base_url", "http://127.0.0.1:9", "--image", "{files}/dance.mp4"], "cannot be read as a picture"),
    ("gemini", ["--base_url", "http://127.0.0.1:9", "--video", "{files}/text.mp4"], "The driving video"),
])
def test_wrong_arguments_give_one_sentence(backend, flags, expected, files, capsys):
    (files / "text.mp4").write_text("not a video")
    status = main(["prompt", "--video", str(files / "dance.mp4"), "--image", str(files / "anna.png"), "--backend",
                   backend, *(flag.format(files=files) for flag in flags)])
    out, err = capsys.readouterr()
    assert expected in failure((status, out, err, []))
    assert KEY not in err


@pytest.mark.parametrize("flags", [["--api-key", KEY], [f"--key={KEY}"], ["--openai_api_key", KEY]])
def test_a_key_after_an_unknown_flag_is_not_shown(flags, capsys):
    with pytest.raises(SystemExit):
        main(["prompt", "--video", "a", "--image", "b", *flags])
    err = capsys.readouterr().err
    assert f"unrecognized arguments: {flags[0].partition('=')[0]}: see" in err
    assert KEY not in err


@pytest.mark.parametrize(("backend", "package"), [("gemini", "google.genai"), ("openai", "openai")])
def test_a_missing_client_names_the_extra(backend, package, write, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    message = f'{package} is not installed; run: pip install "scail2[prompt]"'
    assert write(backend)[2].splitlines()[-1] == f"scail2: {message}"


def test_a_file_is_replaced_when_asked(write, tmp_path):
    (tmp_path / "prompt.txt").write_text("old")
    assert write("openai", None, "--output", tmp_path / "prompt.txt", "--overwrite")[0] == 0
    assert (tmp_path / "prompt.txt").read_text() == f"{PROMPT}\n"


def test_tokens_are_counted_by_the_tokenizer_of_generate(models, write):
    status, _, err, _ = write("openai", None, "--ckpt_dir", models / "encoders")
    assert status == 0
    assert "about" not in err.splitlines()[-1]


def test_large_frames_are_sent_smaller():
    file = prompt_asking.jpeg(torch.zeros(720, 2560, 3, dtype=torch.uint8))
    assert Image.open(io.BytesIO(file)).size == (1280, 360)


def test_ctrl_c_ends_it_within_a_second(files):
    with LanguageServer(slow(30)) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", "import sys; from scail_model.headless.cli import main; sys.exit(main())", "prompt",
             "--video", files / "dance.mp4", "--image", files / "anna.png", "--backend", "openai", "--model", "m"],
            cwd=PACK, env=os.environ | {"OPENAI_BASE_URL": f"{server.url}/v1"}, stderr=subprocess.PIPE, text=True)
        while not server.seen:
            time.sleep(0.05)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        lines = iter(process.stderr.readline, "")
        assert next(line for line in lines if "interrupted" in line) == "scail2: interrupted\n"
        assert time.monotonic() - started < 1
        assert process.wait(20) == 130
        process.stderr.close()
