"""What a language model is shown and asked, and the flow from its answers to a prompt."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from language_server import CAPTION, PROMPT

from scail_model.prompting.answer import Answer, estimated_tokens, mended, prompt_fault
from scail_model.prompting.examples import NO_EXAMPLES, cut, own_examples, read_examples
from scail_model.prompting.frames import frame_indices
from scail_model.prompting.instructions import Request
from scail_model.prompting.writing import Writer, checked

PACK = Path(__file__).parents[2]
MODES = ("replacement", "animation")
FRAMES, REFERENCE = [torch.zeros(4, 6, 3)] * 3, [torch.ones(8, 4, 3)]


@pytest.mark.parametrize(("count", "wanted", "expected"), [
    (81, 8, [0, 11, 23, 34, 46, 57, 69, 80]),  # round(i * 80 / 7)
    (10, 2, [0, 9]),
    (5, 3, [0, 2, 4]),
    (4, 3, [0, 2, 3]),  # round(1.5) is 2, as Python rounds
    (3, 8, [0, 1, 2]),
    (1, 8, [0]),
    (81, 1, [40]),
    (2, 1, [1]),
])
def test_frames_are_the_official_ones(count, wanted, expected):
    assert frame_indices(count, wanted) == expected


def test_no_frame_is_refused():
    with pytest.raises(ValueError, match="number of frames is 0: show at least 1"):
        frame_indices(10, 0)


@pytest.mark.parametrize("mode", MODES)
def test_own_examples_keep_the_rules_that_they_teach(mode):
    examples = own_examples(mode)
    assert len(examples) <= 4000
    paragraphs = [re.sub(r"^Example \d\. ", "", text) for text in examples.split("\n\n")]
    assert len(paragraphs) >= 3
    for text in paragraphs:
        assert prompt_fault(text) is None
        assert mended(text) == text
        assert 90 <= len(text.split()) <= 140


def test_a_wheel_has_the_examples(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PACK / name, tmp_path)
    shutil.copytree(PACK / "scail_model/prompting", tmp_path / "scail_model/prompting")
    (tmp_path / "scail_model/__init__.py").touch()
    build = "import sys; from setuptools.build_meta import build_wheel; sys.stderr.write(build_wheel('.'))"
    made = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, env=os.environ, capture_output=True, text=True,
                          check=True).stderr.splitlines()[-1]
    with zipfile.ZipFile(tmp_path / made) as wheel:
        packed = {name for name in wheel.namelist() if name.endswith(".txt") and "prompting" in name}
    assert packed == {f"scail_model/prompting/examples_{mode}.txt" for mode in MODES}


def test_examples_are_cut_as_the_official_ones(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("  one\n\ntwo \n", encoding="utf-8-sig")
    assert read_examples(file) == "one\n\ntwo"
    assert [cut("one two", most) for most in (3, 7, 0)] == ["one", "one two", NO_EXAMPLES]
    with pytest.raises(RuntimeError, match="none.txt cannot be read"):
        read_examples(tmp_path / "none.txt")
    file.write_bytes(b"caf\xe9")
    with pytest.raises(RuntimeError, match=r"is not plain text in UTF-8 \(byte 3\)"):
        read_examples(file)


@pytest.mark.parametrize("mode", MODES)
def test_the_two_questions_are_those_of_the_mode(mode):
    request = Request(mode, 8, 1, "a robot dances", "EXAMPLES", 4000)
    first, second = request.caption(), request.prompt("CAPTION")
    assert "The first 8 pictures are frames of the video in the order of time." in first
    assert "robot dances" in first
    assert "robot dances" in second
    assert "CAPTION" in second
    assert "EXAMPLES" in second
    assert "90 to 140 words" in second
    kept = {"replacement": "Keep the place, the light and the camera.", "animation": "in the scene of that picture"}
    assert [text in second for text in kept.values()] == [mode == name for name in kept]
    assert not re.search(r"[{}]", first + second)


def test_one_batch_of_pictures_says_which_is_which():
    text = Request("replacement", 4, 2, "", "", 4000).both()
    assert text.startswith("The first 4 pictures are frames of the video in the order of time. "
                           "The last 2 pictures are not of that video: the reference pictures.")
    assert NO_EXAMPLES in text
    assert "The last picture is not of that video" in Request("replacement", 1, 1, "", "", 4000).both()


class Model:
    """Gives the answers one after the other, and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, pictures, text, attempt):
        self.asked.append((pictures, text, attempt))
        answer = self.answers.pop(0)
        return answer if isinstance(answer, Answer) else Answer(answer)


def written(model, tokens=None):
    said = []
    writer, request = Writer(model, "parrot-7b", said.append, tokens), Request("replacement", 3, 1, "", "", 4000)
    return writer.prompt(request, REFERENCE, writer.caption(request, FRAMES)), said


def test_a_good_model_is_asked_twice():
    model = Model(CAPTION, f'"{PROMPT}"\n')
    result, said = written(model)
    assert [result.prompt, result.caption] == [PROMPT, CAPTION]
    (frames, _, _), (reference, question, _) = model.asked
    assert [frames, reference] == [FRAMES, REFERENCE]
    assert CAPTION in question
    assert said == ["parrot-7b describes the video", "parrot-7b writes the prompt"]
    assert result.size() == f"{len(PROMPT.split())} words, about {estimated_tokens(PROMPT)} of 512 tokens"


def test_a_wrong_answer_is_asked_for_again_with_what_was_wrong():
    model = Model(CAPTION, f"Replace the man. {PROMPT}", PROMPT)
    result, said = written(model)
    assert result.prompt == PROMPT
    assert 'Your last answer says "Replace", but a prompt describes the finished video' in model.asked[2][1]
    assert [attempt for _, _, attempt in model.asked] == [0, 0, 1]
    assert said[-1].endswith("asked once more")


def test_a_second_wrong_answer_ends_it():
    with pytest.raises(RuntimeError, match="^The answer of parrot-7b is empty: ask again, or ask another model.$"):
        written(Model(CAPTION, "", " "))


def test_a_refusal_is_not_asked_for_again():
    model = Model(CAPTION, "I'm sorry, but I cannot describe real people.")
    with pytest.raises(RuntimeError, match='^The answer of parrot-7b is a refusal .*"I.m sorry'):
        written(model)
    assert len(model.asked) == 2


def test_a_counter_of_tokens_takes_the_place_of_the_estimate():
    result, _ = written(Model(CAPTION, PROMPT), tokens=lambda text: 512)
    assert result.size().endswith("words, 512 of 512 tokens")
    with pytest.raises(RuntimeError, match="has 513 tokens, and the model reads 512"):
        written(Model(CAPTION, PROMPT, PROMPT), tokens=lambda text: 513)


def test_an_answer_of_another_program_is_mended_or_refused():
    assert checked(f"**Prompt:** {PROMPT}").prompt == PROMPT
    with pytest.raises(RuntimeError, match="^The prompt is a refusal"):
        checked("I can't help with that.")
