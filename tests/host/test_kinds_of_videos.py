"""Kinds of VIDEO that ComfyUI's nodes give, of today's versions and of newer ones: each is read a stretch at a time."""

from fractions import Fraction

import assets
import numpy as np
import pytest
import torch
from graphs import Graph
from safetensors import safe_open
from safetensors.torch import load_file
from video_kinds import Made, Sound

from scail_model.media.video_file import FileClip

RATE, FRAMES, SIZE = 25, 20, (48, 64)
CLICK = Fraction(2, 5)  # seconds


@pytest.fixture(scope="module")
def files(comfy):
    """Two clips of one size, with a click each; a third of another size, a fourth of another rate."""
    draw = np.random.default_rng(0).integers(0, 256, (2 * FRAMES, 3, 6, 8), dtype=np.uint8)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(draw).float(), SIZE, mode="bilinear")
    pictures = smooth.movedim(1, -1).byte()
    for name, frames, rate in (("a", pictures[:FRAMES], RATE), ("b", pictures[FRAMES:], RATE),
                               ("small", pictures[:FRAMES, :32], RATE), ("fast", pictures[FRAMES:], 2 * RATE)):
        assets.write_video(comfy.base / f"{name}.mp4", frames, rate=Fraction(rate),
                           sound=assets.click(Fraction(FRAMES, rate), CLICK * RATE / rate))
    return {name: str(comfy.base / f"{name}.mp4") for name in ("a", "b", "small", "fast")}


@pytest.fixture(scope="module")
def read(comfy, files, tmp_path_factory):
    """kind, names of files -> tensors, and what is said of them."""
    folder = tmp_path_factory.mktemp("read")

    def run(kind, *names):
        graph, path = Graph(comfy.images), folder / "found.safetensors"
        graph.add("read", "TestReadVideo", kind=kind, files="|".join(files[name] for name in names), path=str(path))
        comfy.run(graph)
        with safe_open(path, "pt") as opened:
            return load_file(path), opened.metadata()

    return run


@pytest.fixture(scope="module")
def stored(read):
    return {name: read("plain", name)[0]["frames"] for name in ("a", "b", "fast")}


KINDS = {  # files, and of which stored frames and pixels it is made
    "plain": ("a", lambda a, b: a),
    "of frames": ("a", lambda a, b: a),
    "trimmed": ("a", lambda a, b: a[5:15]),
    "trimmed at the end": ("a", lambda a, b: a[15:]),
    "not cropped": ("a", lambda a, b: a),
    "cropped": ("a", lambda a, b: a[:, 4:44, 8:40]),
    "cropped and trimmed": ("a", lambda a, b: a[5:15, 4:44, 8:40]),
    "joined": ("ab", lambda a, b: torch.cat((a, b))),
    "joined, one cropped": ("ab", lambda a, b: torch.cat((a[:, 4:44, 8:40], b[:, :40, :32]))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_frames(read, stored, kind):
    names, expected = KINDS[kind]
    found, about = read(kind, *names)
    assert torch.equal(found["frames"], expected(stored["a"], stored["b"]))
    assert torch.equal(found["one"], found["frames"][-1:])
    assert (about["rate"], about["variable"]) == (str(RATE), "False")
    assert found["times"].tolist() == pytest.approx([index / RATE for index in range(len(found["frames"]) + 1)])


@pytest.mark.parametrize(("kind", "frames"), [
    ("edited", slice(None)), ("edited and trimmed", slice(5, None)), ("edited, and trimmed without", slice(None))])
def test_edits_that_only_comfyui_knows(read, stored, kind, frames):
    """At most 16 frames at once where a trimmed VIDEO keeps the edits."""
    found, _ = read(kind, "a")
    wanted = stored["a"][frames, :, :32].double() / 2
    assert found["frames"].shape == wanted.shape
    assert (found["frames"] - wanted).abs().max() <= 0.75  # ComfyUI halves floats, before they are rounded


FILES = {
    "plain.mp4": Made(),
    "HLG.mp4": Made(codec="libx265", pixels="yuv420p10le", colours=(9, 1, 9, 18), options={
        "x265-params": "log-level=error:qp=4", "preset": "ultrafast"}),
    "alpha.webm": Made(codec="libvpx-vp9", pixels="yuva420p", options={"crf": "4", "b": "0"}, alpha=128),
    "interlaced.mpg": Made(codec="mpeg2video", options={"flags": "+ildct+ilme", "q": "2"}),
    "variable.mkv": Made(stamps=[40 * index + 2000 * (index > 9) for index in range(20)], sounds=(Sound(0, 2.8),)),
    "odd.webm": Made(codec="libvpx-vp9", options={"crf": "4", "b": "0"}, size=(33, 51)),
}


@pytest.mark.parametrize("name", FILES)
def test_both_doors_read_the_same(read, files, tmp_path, name):
    """In ComfyUI's environment and in ours: frames, rate and key."""
    files[name] = str(FILES[name].write(tmp_path / name))
    found, about = read("plain", name)
    clip = FileClip(files[name])
    assert torch.equal(found["frames"], clip.read(0, len(clip)))
    assert about == {"rate": str(clip.rate), "variable": str(clip.variable), "digest": clip.digest()}


def clicks(found):
    loud = (found["sound"].abs().amax(0) > 0.2).nonzero()[:, 0] / found["sound_rate"]
    return [float(time) for number, time in enumerate(loud) if not number or time - loud[number - 1] > 0.1]


def test_the_sound_of_joined_videos_stays_with_its_pictures(read):
    found, _ = read("joined", *"ab")
    seconds = FRAMES / RATE
    assert clicks(found) == pytest.approx([float(CLICK), seconds + float(CLICK)], abs=0.5 / RATE)
    assert found["sound"].shape[1] / found["sound_rate"] == pytest.approx(2 * seconds)


def test_a_sound_in_place_of_the_videos_own(read):
    found, _ = read("joined with a sound", *"ab")
    assert found["sound"].mean() == pytest.approx(0.25, abs=1e-3)


def test_joined_videos_of_several_rates_are_of_a_variable_rate(read, stored):
    found, about = read("joined", "a", "fast")
    assert torch.equal(found["frames"], torch.cat((stored["a"], stored["fast"])))
    assert about["variable"] == "True"
    assert found["times"][-1] == pytest.approx(FRAMES / RATE + FRAMES / RATE / 2)


def test_joined_videos_of_several_sizes_are_refused(read):
    with pytest.raises(RuntimeError, match="Part 2 of the driving video is 64x32, but part 1 is 64x48: resize "):
        read("joined", "a", "small")


def test_other_edits_are_another_job(read):
    kinds = ("plain", "cropped", "cropped and trimmed", "edited")
    digests = {read(kind, "a")[1]["digest"] for kind in kinds} | {read("joined", *"ab")[1]["digest"]}
    assert len(digests) == 5
