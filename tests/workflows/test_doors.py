"""The programs through which others run workflows, as they are published: comfy-cli, and Comfy API v2 (comfy-sdk over
comfy-api-proxy over a ComfyUI). A workflow gives its video through each, an error its sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import assets
import pytest
from test_runs import FRAMES, INPUT, INPUTS, NAMES, prompt_of
from workflow_files import drawings, tiny

from scail_model.batch.comfy_process import free_port

QUICK = "animation"
PROGRAMS = Path(sys.executable).parent
SLOW = 1.0  # seconds of a step


def shrunk(server, name: str) -> dict:
    drawings.write(server.base / "input", name, **INPUTS.get(name, INPUT))
    return tiny.shrink(prompt_of(name))


def node(prompt: dict, kind: str) -> str:
    (found,) = [key for key, value in prompt.items() if value["class_type"] == kind]
    return found


def slowed(prompt: dict) -> dict:
    """A workflow that samples for seconds, and is new to the server."""
    prompt["slow"] = {"class_type": "TestSlowSampler", "inputs": {"sleep": SLOW, "silence": 0.2}}
    inputs = prompt[node(prompt, "SCAIL2SampleVideo")]["inputs"]
    inputs |= {"sampler": ["slow", 0], "seed": time.time_ns()}
    return prompt


@pytest.fixture
def usual_silence(server):
    yield
    server.run({"usual": {"class_type": "TestSlowSampler", "inputs": {"sleep": 0.0, "silence": 15.0}}})


# comfy-cli

@pytest.fixture
def comfy(server, tmp_path):
    """comfy(*arguments) -> return code, events."""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "DO_NOT_TRACK": "1"}

    def run(*arguments) -> tuple[int, list[dict]]:
        done = subprocess.run([PROGRAMS / "comfy", "--skip-prompt", "--json-stream", *map(str, arguments)],
                              env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert events, done.stderr
        return done.returncode, events

    return run


def run_file(server, comfy, tmp_path, prompt: dict, **options) -> tuple[int, list[dict]]:
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(prompt))
    more = [word for name, value in options.items() for word in (f"--{name}", value)]
    return comfy("run", "--workflow", file, "--wait", "--host", "127.0.0.1", "--port", server.port, *more)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow)
                                  for name in NAMES])
def test_comfy_cli_runs_the_workflow_file(server, comfy, tmp_path, name):
    prompt = shrunk(server, name)
    code, events = run_file(server, comfy, tmp_path, prompt)
    assert code == 0, events[-1]
    saved = [output for event in events if event["type"] == "executed" for output in event["outputs"]
             if output["class_type"] in ("SaveVideo", "SCAIL2PastePerson")]
    assert len(saved) == 1
    file = server.base / "output" / saved[0]["subfolder"] / saved[0]["filename"]
    assert assets.probe(file)["frames"] >= tiny.LENGTH


def test_comfy_cli_is_told_what_is_wrong(server, comfy, tmp_path):
    prompt = shrunk(server, QUICK)
    prompt[node(prompt, "SCAIL2SampleVideo")]["inputs"]["plan"] = "nonsense"
    code, events = run_file(server, comfy, tmp_path, prompt)
    assert code == 1
    assert "plan" in json.dumps(events[-1])


def test_comfy_cli_does_not_leave_during_a_long_step(server, comfy, tmp_path, usual_silence):
    """It leaves after so many seconds of silence, of which a step here has more; also while another run goes on and
    its own waits."""
    first, second = (slowed(shrunk(server, QUICK)) for _ in range(2))  # which writes files that a run reads
    other = server.queue(first)
    code, events = run_file(server, comfy, tmp_path, second, timeout=1)
    assert code == 0, events[-1]
    assert server.wait(other)["status"]["status_str"] == "success"


# Comfy API v2

@pytest.fixture(scope="module")
def proxy(server, tmp_path_factory):
    pytest.importorskip("comfy_sdk")
    port = free_port()
    folder = tmp_path_factory.mktemp("proxy")
    with open(folder / "log", "w") as log:
        process = subprocess.Popen([PROGRAMS / "comfy-api-proxy", "run", "--comfyui", f"http://127.0.0.1:{server.port}",
                                    "--port", str(port)], cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            until_up(address)
            yield address
        finally:
            process.terminate()
            process.wait(20)


def until_up(address: str) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(address)


@pytest.fixture
def client(proxy, monkeypatch):
    from comfy_sdk import Comfy

    monkeypatch.setenv("COMFY_BASE_URL", proxy)
    monkeypatch.delenv("COMFY_API_KEY", raising=False)
    return Comfy()


def test_api_v2_gives_the_video_of_the_saving_node(server, client, tmp_path):
    from comfy_sdk.events import Progress

    prompt = shrunk(server, QUICK)
    sampled = prompt[node(prompt, "SCAIL2SampleVideo")]
    sampled["inputs"]["seed"] = time.time_ns()
    work = client.workflows.from_json(prompt)
    for picture in [key for key, value in prompt.items() if value["class_type"] == "LoadImage"]:
        file = server.base / "input" / prompt[picture]["inputs"]["image"]
        work.set_input(picture, "image", client.assets.from_file(file))
    job = client.submit(work)
    heard = list(job.events())
    job.result()
    assert [event for event in heard if isinstance(event, Progress) and event.steps]
    (video,) = job.get_outputs(node(prompt, "SaveVideo"))
    video.to_file(tmp_path / "video.mp4")
    assert assets.probe(tmp_path / "video.mp4")["frames"] == FRAMES
    (record,) = job.get_outputs(node(prompt, "SCAIL2SampleVideo"))
    values = json.loads(record.to_bytes())
    assert values["check"]["ok"] is True
    assert len(values["segments"]["segments"]) == 2
    checks = [json.loads(output.to_bytes()) for key, value in prompt.items() if value["class_type"] == "SCAIL2Preflight"
              for output in job.get_outputs(key)]
    assert all(found["ok"] for found in checks)


def test_api_v2_passes_on_what_is_wrong(server, client):
    from comfy_sdk.exceptions import JobFailed

    prompt = shrunk(server, QUICK)
    prompt[node(prompt, "SCAIL2SampleVideo")]["inputs"]["plan"] = "nonsense"
    job = client.submit(client.workflows.from_json(prompt))
    with pytest.raises(JobFailed):
        job.result()
    assert "plan" in str(job.error.message)


def test_api_v2_cancels(server, client, usual_silence):
    from comfy_sdk.events import Progress

    job = client.submit(client.workflows.from_json(slowed(shrunk(server, QUICK))))
    for event in job.events():
        if isinstance(event, Progress):
            break
    started = time.monotonic()
    job.cancel()
    job.wait(30)
    # the proxy says "expired" if it asks in the moment in which ComfyUI has a graph neither in its queue nor in history
    assert job.status in ("canceled", "expired")
    assert time.monotonic() - started < 10
    while any(server.get("/queue").values()):
        assert time.monotonic() - started < 20
    last, = server.get("/history?max_items=1").values()
    assert last["status"]["messages"][-1][0] == "execution_interrupted"


# The page that shows how

@pytest.fixture
def examples(server, tmp_path):
    """The page's programs, and a folder with what they name."""
    page = (Path(__file__).parents[2] / "docs/automation.md").read_text(encoding="utf-8")
    file = tmp_path / "workflows/api/animation.json"
    file.parent.mkdir(parents=True)
    titled = {key: {"_meta": {"title": key}, **value} for key, value in shrunk(server, "animation").items()}
    file.write_text(json.dumps(titled))
    for folder in (tmp_path, server.base / "input"):
        shutil.copy(server.base / "input/reference.png", folder / "anna.png")
    return tmp_path, [part.split("```")[0] for part in page.split("```python\n")[1:]]


def run_program(text: str, folder: Path, **environment) -> dict:
    names: dict = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for name, value in environment.items():
            patched.setenv(name, value)
        exec(text, names)  # noqa: S102
    return names


def test_the_program_for_prompt_on_the_page(server, examples):
    folder, (program, _) = examples
    saved = run_program(program.replace("http://127.0.0.1:8188", f"http://127.0.0.1:{server.port}"), folder)["saved"]
    assert assets.probe(server.base / saved["type"] / saved["subfolder"] / saved["filename"])["frames"] == FRAMES


def test_the_program_for_api_v2_on_the_page(examples, proxy):
    folder, (_, program) = examples
    run_program(program, folder, COMFY_BASE_URL=proxy)
    assert assets.probe(folder / "anna.mp4")["frames"] == FRAMES
