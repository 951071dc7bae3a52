"""Tracks files in ComfyUI: saved once, loaded for another reference and another mode, and refused for another video."""

import itertools
import shutil

import assets
import numpy as np
import pytest
import torch
from graphs import add_inputs, add_motion
from safetensors.torch import load_file, save_file

from scail_model.identity import tracks_file

pytestmark = pytest.mark.node("SCAIL2SaveTracks", "SCAIL2LoadTracks")

_NUMBERS = itertools.count()


@pytest.fixture
def name():
    """ComfyUI does not run a saving node again that it has run with the same inputs."""
    return f"scene{next(_NUMBERS)}"


@pytest.fixture
def save(comfy, name):
    """Save the identities of a graph."""

    def run(graph, **options):
        inputs = {"name": name, **options}
        graph.add("tracks_file", "SCAIL2SaveTracks", identities=["identities", 0], **inputs)
        comfy.run(graph)
        del graph["tracks_file"]

    return run


@pytest.fixture
def folder(comfy):
    folder = comfy.base / "models/scail2_tracks"
    yield folder
    for path in folder.glob("*"):  # the folder stays: ComfyUI has listed it
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def report(comfy, name):
    """What Load Tracks says."""

    def run(graph, **inputs):
        graph.add("loaded", "SCAIL2LoadTracks", file=f"{name}.safetensors", **inputs)
        graph.add("report", "PreviewAny", source=["loaded", 1])
        return comfy.run(graph)["report"]["text"][0]

    return run


def masks(graph, tensors):
    """Mask channels of the driving video and of the reference, as the model gets them."""
    found = tensors(graph, conditioning=add_motion(graph))
    return found["driving_mask_28ch"], found["ref_mask_28ch"]


def test_another_reference_is_bound_to_saved_tracks(graph, tensors, save, folder, tmp_path):
    """People are tracked once: the second character gets the same driving masks, bit for bit."""
    add_inputs(graph, people=2)
    first = masks(graph, tensors)
    save(graph, name="people/scene", driving=["driving", 0])

    other = torch.full((1, 80, 72, 3), 255, dtype=torch.uint8)
    for left, colour in ((8, assets.COLOURS["blue"]), (44, assets.COLOURS["red"])):
        other[:, 16:72, left : left + 20] = torch.tensor(colour, dtype=torch.uint8)
    save_file({"mask": other}, tmp_path / "other.safetensors")
    graph.add("reference_mask", "TestImages", path=str(tmp_path / "other.safetensors"), name="mask")
    expected = masks(graph, tensors)
    del graph["driving_mask"]
    graph.set("identities", driving_masks=graph.add("loaded", "SCAIL2LoadTracks", file="people/scene.safetensors"))
    found = masks(graph, tensors)
    assert all(map(torch.equal, found, expected))
    assert torch.equal(found[0], first[0])
    assert not torch.equal(found[1], first[1])

    save(graph, name="people/second")
    before, after = (tracks_file.load(folder / f"people/{name}.safetensors")[0] for name in ("scene", "second"))
    drawn = load_file(graph.images)["driving_mask2"][:9].numpy()
    for person, colour in enumerate(assets.COLOURS.values()):
        expected = (drawn == colour).all(-1)
        for found in (before, after):
            assert all(np.array_equal(found.driving.frame(index)[person], mask) for index, mask in enumerate(expected))
        assert np.array_equal(after.references[0].frame(0)[person], (other[0].numpy() == colour).all(-1))


@pytest.mark.parametrize("mode", ["animation", "replacement"])
def test_loaded_identities_serve_both_modes(graph, tensors, save, folder, name, mode):
    """As they are, and with backgrounds painted as the other mode needs them."""
    add_inputs(graph, mode=mode)
    expected = masks(graph, tensors)
    for saved_mode, chosen in ((mode, "as saved"), ({"animation": "replacement"}.get(mode, "animation"), mode)):
        add_inputs(graph, mode=saved_mode)
        save(graph, overwrite=True)
        del graph["driving_mask"], graph["reference_mask"]
        graph.add("identities", "SCAIL2LoadTracks", file=f"{name}.safetensors", mode=chosen)
        assert all(map(torch.equal, masks(graph, tensors), expected))


def test_the_same_video_as_file_and_as_frames(graph, save, report, folder):
    """Saved with the VIDEO of an mp4; the drawn frames and a smaller copy are the same video, a later one is not."""
    add_inputs(graph, frames=assets.FRAMES)
    video = graph.add("video", "LoadVideo", file="driving.mp4")
    save(graph, driving=video)
    same = "driving video: the one that was tracked (16 frames compared)"
    graph.clear()
    assert report(graph, driving=graph.add("video", "LoadVideo", file="driving.mp4")).split("\n")[-1] == same
    frames = graph.pictures("frames", "driving1")
    text = report(graph, driving=frames)
    assert text.split("\n")[-1] == same
    assert "mode: animation; 21 driving frames, 1 reference(s)" in text
    small = graph.add("small", "ImageScale", image=frames, upscale_method="area", width=48, height=32, crop="disabled")
    assert f"driving video: 48x32 pixels, the masks 96x64, the same shape\n{same}" in report(graph, driving=small)
    faster = graph.add("faster", "CreateVideo", images=frames, fps=25.0)
    assert report(graph, driving=faster).endswith(
        f"{same}\ndriving video: 25 frames per second, 12.5 when it was saved")


def test_another_video_is_refused_unless_accepted(graph, save, report, folder):
    add_inputs(graph)
    save(graph, driving=["driving", 0])
    graph.clear()
    other = graph.pictures("other", "driving2", frames=9)
    with pytest.raises(RuntimeError, match=r"LoadTracks: The driving video is not the one of these tracks \(9 of 9 "
                                           r"compared frames show another picture, the first is frame 0, by up to"):
        report(graph, driving=other)
    text = report(graph, driving=other, other_video="accept")
    assert "driving video: not the one of these tracks, accepted (9 of 9 compared frames" in text
    with pytest.raises(RuntimeError, match="The driving video has 8 frames, but its mask has 9"):
        report(graph, driving=graph.pictures("other", "driving2", frames=8), other_video="accept")


def test_tracks_without_a_video(graph, save, report, folder):
    add_inputs(graph)
    save(graph)
    graph.clear()
    assert "driving video" not in report(graph)
    assert "its pictures were not compared, because the tracks were saved without it" in report(
        graph, driving=graph.pictures("driving", "driving1", frames=9))


def test_what_cannot_be_saved(comfy, graph, save, folder, name):
    add_inputs(graph)
    save(graph)
    whole = (folder / f"{name}.safetensors").read_bytes()
    for options, message in (
            ({"driving": ["driving", 0]}, f"tracks file {name} exists already: choose another name or turn"),
            ({"name": "../outside"}, "is not a file inside scail2_tracks"),
            ({"name": "other", "driving": graph.pictures("short", "driving1", frames=8)},
             "The driving video has 8 frames, but its mask has 9"),
            ({"name": "other", "driving": graph.add("square", "ImageScale", image=["driving", 0], upscale_method="area",
                                                    width=64, height=64, crop="disabled")},
             r"driving mask \(96x64 pixels\) and the driving video \(64x64\) have different shapes")):
        with pytest.raises(RuntimeError, match=f"SCAIL2SaveTracks: .*{message}"):
            save(graph, **options)
    assert [path.name for path in folder.rglob("*")] == [f"{name}.safetensors"]
    assert (folder / f"{name}.safetensors").read_bytes() == whole
    assert not list(comfy.base.rglob("outside*"))


def test_a_file_written_again_is_read_again(graph, save, report, folder, name):
    """ComfyUI would keep the result of a node whose inputs are the same."""
    add_inputs(graph)
    save(graph)
    add_inputs(graph, people=2, mode="replacement")
    save(graph, name="new")
    graph.clear()
    driving = graph.pictures("driving", "driving1", frames=9)
    assert "mode: animation" in report(graph, driving=driving)
    shutil.copy(folder / "new.safetensors", folder / f"{name}.safetensors")
    assert "mode: replacement" in report(graph, driving=driving)


@pytest.mark.parametrize(("source", "message"), [
    ("loras/lora.safetensors", "is not a tracks file that this version of the pack can read: choose a file that Save"),
    ("diffusion_models/truncated.safetensors", "is not a tracks file, or was cut short"),
])
def test_other_files_are_refused(comfy, graph, report, folder, name, source, message):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(comfy.base / "models" / source, folder / f"{name}.safetensors")
    with pytest.raises(RuntimeError, match=f"SCAIL2LoadTracks: .*{message}"):
        report(graph)
