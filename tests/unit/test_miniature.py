"""`scail2 generate` on weights that have learned: files in, a video out, measured against the drawn truth.

The miniature SCAIL-2 of tests/miniature knows one drawn world; in ComfyUI it is tested in host/test_miniature.py.
"""

from __future__ import annotations

from dataclasses import replace

import av
import language
import measure
import numpy as np
import pytest
import torch
import world
from miniature_scenes import FRAMES, WEIGHTS, Scene, batch, write_files
from safetensors.torch import load_file

from scail_model.headless import generate as generate_module
from scail_model.headless.cli import main
from tests.demo import small_models

STEPS, SEED = 4, 3
# PSNR in dB
FLOOR = 23.5  # of a result
MARGIN = 5.0  # inside the figures, over either trivial answer
OTHER_MODE = 5.0  # over the truth of the other mode
ROUNDED = 0.3  # what bfloat16 may lose
PLATE_GAIN, PLATE_INSIDE = 0.0, 0.3  # with a plate, of the whole picture; what may be lost inside the figures
WORD = "green"  # the miniature follows a word in nine clips of ten, and here
SHIRT_ERROR, GUIDANCE = 0.5, 3.0  # with the word, in parts of what it is without

ONE = Scene(seed=5)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The encoders' folder: the miniature's VAE as the official file, and a text encoder that knows its words."""
    folder = tmp_path_factory.mktemp("encoders")
    torch.save(load_file(WEIGHTS / "nano_vae.safetensors"), folder / "Wan2.1_VAE.pth")
    language.write_text_encoder(folder)
    small_models.clip().save_pretrained(folder / "image_encoder")
    return folder


@pytest.fixture(scope="module")
def generate(models, tmp_path_factory):
    """Frames [T, h, w, 3] in 0..1 of the video that the command makes of a scene."""

    def run(scene, **changes):
        folder = tmp_path_factory.mktemp("job")
        files = write_files(scene, folder / "files")
        options = {"ckpt_dir": models, "scail_path": WEIGHTS / "nano_scail2.safetensors", **files,
                   "target_w": scene.size, "target_h": scene.size, "segment_len": FRAMES, "sample_steps": STEPS,
                   "sample_guide_scale": 1.0, "base_seed": SEED, "save_file": folder / "result.mp4", **changes}
        flags = ["--replace_flag"] if scene.mode == "replacement" else []
        assert main(["generate", *flags, *(f"--{name}={value}" for name, value in options.items())]) == 0
        return frames_of(folder / "result.mp4")

    return run


@pytest.fixture(scope="module")
def animation(generate):
    return generate(ONE)


def frames_of(path):
    with av.open(str(path)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(images)).float() / 255


def check(scene, result):
    """Better than what needs no model, and of the right mode."""
    found, trivial = scene.score(result), scene.trivial()
    other = replace(scene, mode="replacement" if scene.mode == "animation" else "animation").score(result)
    text = f"result {found}, trivial answers {trivial}, against the other mode's truth {other}"
    assert found["psnr"] > FLOOR, text
    assert found["psnr"] > other["psnr"] + OTHER_MODE, text
    assert all(found["psnr_inside"] > answer["psnr_inside"] + MARGIN for answer in trivial.values()), text


def test_animation(animation):
    check(ONE, animation)


def test_replacement(generate):
    scene = replace(ONE, mode="replacement")
    check(scene, generate(scene))


@pytest.mark.slow  # tests/host/test_miniature.py has the nodes do it
def test_a_word_of_the_prompt_colours_the_shirt(generate, animation):
    """Through tokenizer and text encoder."""
    colour = torch.tensor([world.WORDS[WORD]])
    said, unsaid = (measure.shirt_error(batch(result), ONE.scenes, colour, ONE.size, ONE.size).item()
                    for result in (generate(ONE, prompt=WORD, sample_guide_scale=GUIDANCE), animation))
    assert said < unsaid * SHIRT_ERROR, f"shirts are off {WORD} by {said:.3f} with the word, by {unsaid:.3f} without"


@pytest.mark.slow  # the same
def test_bfloat16_as_on_a_gpu_is_as_good(generate, animation, monkeypatch):
    monkeypatch.setattr(generate_module, "_device", lambda: (torch.device("cpu"), torch.bfloat16))
    result = generate(ONE)
    assert not torch.equal(result, animation)
    rounded, full = (ONE.score(each) for each in (result, animation))
    for name in ("psnr", "psnr_inside"):
        assert rounded[name] > full[name] - ROUNDED, f"bfloat16 {rounded}, float32 {full}"


@pytest.mark.parametrize("scene", [
    pytest.param(Scene(seed=5, mode="replacement"), id="one person"),
    pytest.param(Scene(seed=11, people=2, mode="replacement"), id="two", marks=pytest.mark.slow),
    pytest.param(Scene(seed=2, people=3, mode="replacement", size=192), id="three", marks=pytest.mark.slow)])
def test_with_a_plate_the_whole_picture_is_nearer_to_the_truth(generate, scene):
    plain, plate = (scene.score(generate(scene, plate=kind, plate_grow=4, plate_feather=4))
                    for kind in ("off", "composite"))
    assert plate["psnr"] > plain["psnr"] + PLATE_GAIN, f"{plain} -> {plate}"
    assert plate["psnr_inside"] > plain["psnr_inside"] - PLATE_INSIDE, f"{plain} -> {plate}"
