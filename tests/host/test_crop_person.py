"""SCAIL2CropPerson and SCAIL2PastePerson in a real ComfyUI: there and back, through a model, and for other nodes."""

from fractions import Fraction

import assets
import numpy as np
import pytest
import torch
from graphs import Graph, add_inputs, add_sample_video, load
from safetensors.torch import load_file

from scail_model.media.video_file import FileClip

pytestmark = pytest.mark.node("SCAIL2CropPerson", "SCAIL2PastePerson")
RATE, FRAMES = 12, 9


@pytest.fixture(scope="module")
def filmed(comfy):
    """The drawn driving video with two people as a file with sound, and its frames."""
    frames = (load_file(comfy.images)["driving2"][:FRAMES] * 255).round().byte()
    assets.write_video(comfy.base / "input" / "wide.mp4", frames, rate=Fraction(RATE),
                       sound=assets.click(Fraction(FRAMES, RATE), Fraction(1, 4)))
    return "wide.mp4"


def add_crop(graph, file, *, person=1, name="crop", **inputs):
    graph.add("filmed", "LoadVideo", file=file)
    if "identities" not in graph:
        add_inputs(graph, people=2, mode="replacement")
    graph.add(name, "SCAIL2CropPerson", driving=["filmed", 0], identities=["identities", 0], person=person, width=64,
              height=96, part="person", **inputs)
    return [name, 0]


def add_paste(graph, video, *, crop="crop", name="paste", **inputs):
    return graph.add(name, "SCAIL2PastePerson", video=video, crop=[crop, 2], **({"codec": "lossless"} | inputs))


def components(graph, video, name="parts"):
    return graph.add(name, "GetVideoComponents", video=video)


def test_there_and_back_changes_nothing(comfy, tensors, graph, filmed):
    add_paste(graph, add_crop(graph, filmed), match_colours=True)
    seen = tensors(graph, image=components(graph, ["crop", 0]))["image"]
    found = tensors(graph, image=components(graph, ["paste", 0]))["image"]
    before = FileClip(comfy.base / "input" / filmed).read(0, FRAMES).float()
    assert seen.shape == (FRAMES, 96, 64, 3)
    assert (found * 255 - before).abs().max() <= 1.01
    assert ((found * 255).round() == before).float().mean() > 0.97


def test_two_people_one_by_one(comfy, tensors, graph, filmed):
    """Each is painted in one colour; nothing else changes."""
    for person, colour in ((1, 0xFF0000), (2, 0x00FF00)):
        add_crop(graph, filmed, person=person, name=f"crop{person}")
        graph.add(f"made{person}", "EmptyImage", width=64, height=96, batch_size=FRAMES, color=colour)
        plate = {"plate": ["paste1", 0]} if person == 2 else {}
        add_paste(graph, [f"made{person}", 0], crop=f"crop{person}", name=f"paste{person}", grow=0, feather=0, **plate)
    found = tensors(graph, image=components(graph, ["paste2", 0]))["image"]
    before = FileClip(comfy.base / "input" / filmed).read(0, FRAMES).float() / 255
    masks = load_file(comfy.images)["driving_mask2_white"][:FRAMES]
    for channel, mask in ((0, masks[..., 2] > masks[..., 0]), (1, masks[..., 0] > masks[..., 2])):
        painted = torch.zeros(3)
        painted[channel] = 1
        assert (found[mask] - painted).abs().max() < 0.01
    outside = masks.amin(-1) > 0.5
    assert (found[outside] - before[outside]).abs().max() < 0.003


def test_other_nodes_take_the_crop_as_any_video(comfy, graph, filmed):
    add_crop(graph, filmed)
    graph.add("slice", "Video Slice", video=["crop", 0], start_time=0.25, duration=0.25, strict_duration=False)
    graph.add("save", "SaveVideo", video=["crop", 0], filename_prefix="crop/whole", format="auto", codec="auto")
    graph.add("save_slice", "SaveVideo", video=["slice", 0], filename_prefix="crop/slice", format="mp4", codec="h264")
    comfy.run(graph)
    whole, part = (FileClip(next((comfy.base / "output" / "crop").glob(f"{name}*.mp4"))) for name in ("whole", "slice"))
    assert (len(whole), whole.rate, whole.size) == (FRAMES, RATE, (96, 64))
    assert (len(part), part.size) == (3, (96, 64))
    with whole.sound(Fraction(3, 4)) as track:
        assert track is not None


def test_through_the_model_at_the_size_rate_and_sound_of_what_was_filmed(comfy, graph, filmed):
    add_crop(graph, filmed, reference=["reference_image", 0])
    graph.set("reference", image=["crop", 3], identities=["crop", 1], height=96)
    add_sample_video(graph, load(graph))
    graph.set("sampled", driving=["crop", 0], identities=["crop", 1])
    add_paste(graph, ["sampled", 0], filename_prefix="through/model")
    comfy.run(graph, 240)
    made = FileClip(next((comfy.base / "output" / "through").glob("*.mp4")))
    before = FileClip(comfy.base / "input" / filmed)
    assert (len(made), made.rate, made.size) == (FRAMES, RATE, before.size)
    changed = (made.read(0, FRAMES) != before.read(0, FRAMES)).any(-1)
    assert 0 < changed.float().mean() < 0.7
    with made.sound(Fraction(3, 4)) as track:
        assert track is not None


def test_odd_sides_are_told_before_anything_is_made(comfy, graph, filmed):
    """And that the place is made anew is not told, because it is not: the person is put back."""
    frames = torch.from_numpy(np.stack([picture[:63, :95] for picture in assets.pictures_of(
        comfy.base / "input" / filmed)]))
    assets.write_video(comfy.base / "input" / "odd.mp4", frames, rate=RATE, pixels="yuv444p")
    add_crop(graph, "odd.mp4", reference=["reference_image", 0])
    graph.set("reference", image=["crop", 3], identities=["crop", 1], height=96)
    graph.add("said", "PreviewAny", source=["crop", 5])
    graph.add("check", "SCAIL2Preflight", model=load(graph), solver="unipc", steps=1, shift=3.0, guidance=1.0,
              driving=["crop", 0], identities=["crop", 1],
              **{name: [name, 0] for name in ("positive", "negative", "vae", "reference")})
    graph.add("checked", "PreviewAny", source=["check", 0])
    found = comfy.run(graph)
    assert "warning: The driving video is 95x63, but only codec lossless has odd sides" in found["said"]["text"][0]
    assert "the place around the people is made anew" not in found["checked"]["text"][0]


def test_a_draft_of_another_shape_lies_where_its_video_will(comfy, tensors, graph, filmed):
    """The draft of 64x96 is 32x64: the middle of what the window sees, at its height."""
    add_crop(graph, filmed)
    graph.add("made", "ImageScale", image=components(graph, ["crop", 0]), upscale_method="bicubic", width=32, height=64,
              crop="center")
    add_paste(graph, ["made", 0], plate_person="driven", grow=0, feather=0)
    graph.add("pasted", "GetVideoComponents", video=["paste", 0])
    found = tensors(graph, image=["pasted", 0])["image"]
    before = FileClip(comfy.base / "input" / filmed).read(0, FRAMES).float() / 255
    assert (found - before).abs().mean() < 0.01


@pytest.mark.parametrize(("change", "words"), [
    ({"person": 3}, "person is 3, but 2 people are bound"),
    ({"width": 48}, "The width is 48 pixels"),
    ({"part": "face", "faces": ["faces", 0]}, "faces have 4 frames"),
])
def test_what_cannot_be_is_said_in_one_sentence(comfy, graph, filmed, change, words):
    add_crop(graph, filmed)
    graph.pictures("faces", "driving_mask2", frames=4)
    graph.set("crop", **change)
    graph.add("shown", "PreviewImage", images=["crop", 4])
    with pytest.raises(RuntimeError, match=words):
        comfy.run(graph)


def test_a_reference_that_is_not_there_shows_nothing(comfy, graph, filmed):
    add_crop(graph, filmed)
    graph.add("shown", "PreviewImage", images=["crop", 3])
    assert "shown" not in comfy.run(graph)


@pytest.mark.parametrize("faces", [None, ["faces", 0], ["faces", 1], ["white", 0]])
def test_a_face_with_a_close_up_of_the_reference(tensors, filmed, comfy, faces):
    graph = Graph(comfy.images)
    add_crop(graph, filmed, reference=["reference_image", 0])
    graph.pictures("faces", "driving_mask2", frames=FRAMES)
    graph.add("white", "MaskToImage", mask=["faces", 1])
    graph.set("crop", part="face", **({} if faces is None else {"faces": faces}))
    found = tensors(graph, image=["crop", 3])["image"]
    assert len(found) == 2
    assert not torch.equal(*found)
    graph.set("reference", image=["crop", 3], identities=["crop", 1])
    add_sample_video(graph, load(graph))
    graph.set("sampled", driving=["crop", 0], identities=["crop", 1])
