"""SCAIL2Identities in a real ComfyUI: whatever the masks came from, the model gets the same channels."""

import itertools
from pathlib import Path

import assets
import pytest
import torch
from graphs import add_inputs, add_motion
from safetensors.torch import load_file

CHANNELS = ("driving_mask_28ch", "ref_mask_28ch")


def tracked(graph, people):
    """SAM3 tracks of both sides."""
    return {"driving_masks": graph.add("track", "TestTrack", path=graph.images, name=f"driving_mask{people}", frames=9),
            "reference_masks": graph.add("reference_track", "TestTrack", path=graph.images,
                                         name=f"reference_mask{people}")}


def one_by_one(graph, people):
    """A plain MASK for each person, by way of core's node that picks one object of a track."""
    inputs = {}
    for side, track in tracked(graph, people).items():
        for person in range(people):
            name = side if person == 0 else f"more_{side}.person_{person + 1}"
            inputs[name] = graph.add(f"{side}_{person}", "SAM3_TrackToMask", track_data=track,
                                     object_indices=str(person))
    return inputs


def mixed(graph, people):
    return tracked(graph, people) | {"driving_masks": ["driving_mask", 0]}


def by_core(graph, people):
    """Core's node paints colours from tracks; ours reads them."""
    tracks = tracked(graph, people)
    graph.add("painted", "SCAIL2ColoredMask", driving_track_data=tracks["driving_masks"],
              ref_track_data=tracks["reference_masks"], object_indices="", sort_by="left_to_right",
              replacement_mode=False)
    return {"driving_masks": ["painted", 0], "reference_masks": ["painted", 1]}


@pytest.mark.node("SCAIL2Identities")
@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("source", [tracked, one_by_one, mixed, by_core], ids=lambda source: source.__name__)
def test_every_source_gives_the_same_channels(tensors, graph, source, people):
    add_inputs(graph, people=people)
    motion = add_motion(graph)
    expected = tensors(graph, conditioning=motion)
    graph.set("identities", **source(graph, people))
    found = tensors(graph, conditioning=motion)
    for name in CHANNELS:
        assert expected[name].any()
        assert torch.equal(found[name], expected[name]), name


@pytest.mark.node("SCAIL2Identities")
def test_a_mask_video_is_a_source(comfy, tensors, graph):
    add_inputs(graph)
    motion = add_motion(graph)
    expected = tensors(graph, conditioning=motion)
    graph.add("file", "LoadVideo", file="driving_mask.mp4")
    graph.add("clip9", "Video Slice", video=["file", 0], start_time=0.0, duration=0.72, strict_duration=False)
    graph.set("identities", driving_masks=["clip9", 0])
    assert torch.equal(tensors(graph, conditioning=motion)[CHANNELS[0]], expected[CHANNELS[0]])


@pytest.fixture
def saved(comfy, graph):
    """The masks of a graph's identities, as a tracks file has them."""
    numbers = itertools.count()

    def run():
        path = comfy.base / f"models/scail2_tracks/masks{next(numbers)}.safetensors"
        graph.add("tracks", "SCAIL2SaveTracks", identities=["identities", 0], name=path.stem, overwrite=True)
        comfy.run(graph)
        found = load_file(path)
        path.unlink()
        return found

    return run


def test_a_mask_video_gives_the_masks_of_its_frames(comfy, tensors, graph, saved):
    """Compressed so that every edge is soft; and the driving video as a file is seen as its frames are."""
    clips = {name: load_file(graph.images)[name] for name in ("driving2", "driving_mask2")}
    add_inputs(graph, people=2, frames=assets.FRAMES)
    for name, clip in clips.items():
        assets.write_video(comfy.base / f"input/lossy_{name}.mp4", clip, options={"crf": "30"})
        graph.add(f"{name}_video", "LoadVideo", file=f"lossy_{name}.mp4")
        graph.add(f"{name}_parts", "GetVideoComponents", video=[f"{name}_video", 0])
    found = {}
    for form in ("video", "parts"):
        graph.set("identities", driving_masks=[f"driving_mask2_{form}", 0], driving=[f"driving2_{form}", 0])
        found[form] = saved(), tensors(graph, image=["identities", 1])["image"]
    (masks, picture), (expected_masks, expected_picture) = found["video"], found["parts"]
    assert masks.keys() == expected_masks.keys()
    assert len(masks["driving.1.frames"]) > 1  # masks that differ
    assert all(torch.equal(masks[name], expected_masks[name]) for name in masks)
    assert torch.equal(picture, expected_picture)
    drawn = (clips["driving_mask2"] == torch.tensor(assets.COLOURS["red"])).all(-1).sum().item()
    areas = masks["driving.1.frames"][:, 0]
    assert areas.sum().item() == pytest.approx(drawn, rel=0.05)


@pytest.mark.node("SCAIL2Identities")
def test_a_mask_that_is_no_video_is_named(comfy, graph):
    (comfy.base / "input/text.mp4").write_text("no video")
    add_inputs(graph)
    graph.set("identities", driving_masks=graph.add("file", "LoadVideo", file="text.mp4"))
    with pytest.raises(RuntimeError, match="SCAIL2Identities: The driving mask .*text.mp4 cannot be opened as a video"):
        comfy.run(graph.save(comfy.base / "x.safetensors", image=["identities", 1]))


def test_a_long_mask_video_is_never_in_memory(comfy, graph):
    """As ComfyUI's frames these two clips are 118 MB each, and as bytes 29 MB."""
    clip = load_file(graph.images)["driving_mask1"].movedim(-1, 1)
    clip = torch.nn.functional.interpolate(clip, (128, 192), mode="nearest").movedim(1, -1)
    assets.write_video(comfy.base / "input/long.mp4", clip.repeat(20, 1, 1, 1)[:400], options={"preset": "ultrafast"})
    add_inputs(graph)
    video = graph.add("file", "LoadVideo", file="long.mp4")
    graph.set("identities", driving_masks=video, driving=video)
    process = Path(f"/proc/{comfy.process.pid}")
    (process / "clear_refs").write_text("5")  # the peak begins anew
    before = memory(process, "VmRSS")
    comfy.run(graph.save(comfy.base / "x.safetensors", image=["identities", 1]))
    assert memory(process, "VmHWM") - before < 25


def memory(process, field):
    """MB."""
    line = next(line for line in (process / "status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1000


@pytest.mark.node("SCAIL2Identities")
def test_a_binding_exchanges_two_people(tensors, graph):
    """Blue and red change places in the driving channels, and stay in the reference's."""
    add_inputs(graph, people=2)
    graph.set("identities", **tracked(graph, 2))
    motion = add_motion(graph)
    plain = tensors(graph, conditioning=motion)
    graph.set("identities", binding="1:2, 2:1")
    swapped = tensors(graph, conditioning=motion)
    blue, red = (torch.arange(4) * 7 + plane for plane in (3, 1))
    assert torch.equal(swapped[CHANNELS[0]][0, :, blue], plain[CHANNELS[0]][0, :, red])
    assert torch.equal(swapped[CHANNELS[0]][0, :, red], plain[CHANNELS[0]][0, :, blue])
    assert torch.equal(swapped[CHANNELS[1]], plain[CHANNELS[1]])


@pytest.mark.node("SCAIL2Identities")
def test_edits_reach_the_driving_channels(tensors, graph):
    add_inputs(graph)
    motion = add_motion(graph)
    covered = {}
    for grow in (-3, 0, 3):
        graph.set("identities", grow=grow)
        values = tensors(graph, conditioning=motion)
        covered[grow] = values[CHANNELS[0]].sum().item(), values[CHANNELS[1]].sum().item()
    assert covered[-3][0] < 0.8 * covered[0][0] < 0.8 * 0.8 * covered[3][0]
    assert len({reference for _, reference in covered.values()}) == 1


@pytest.mark.node("SCAIL2Identities")
def test_previews_show_the_pictures_and_the_channels(tensors, graph):
    """Under the tags and colours is the driving video; in the node the same as one sheet."""
    add_inputs(graph, people=2)
    flat = tensors(graph, image=["identities", 1])["image"]
    graph.set("identities", driving=["driving", 0], reference_image=["reference_image", 0])
    shown = tensors(graph, image=["identities", 1])["image"]
    assert flat.shape == shown.shape == (8, 64, 96, 3)
    driving = load_file(graph.images)["driving2"][8] / 255
    corner = (slice(50, 60), slice(2, 12))
    torch.testing.assert_close(shown[7][corner], driving[corner] * 0.75, atol=0.01, rtol=0)  # darkened: it is black
    assert not torch.equal(shown, flat)
    channels = tensors(graph, image=["identities", 4])["image"]
    assert channels.shape[0] == 1
    assert channels.std() > 0.05


@pytest.mark.node("SCAIL2Identities")
def test_opaque_pictures_with_alpha_are_taken_without_it(tensors, graph):
    add_inputs(graph)
    plain = {"driving": ["driving", 0], "reference_image": ["reference_image", 0]}
    graph.set("identities", **plain)
    expected = tensors(graph, image=["identities", 1])["image"]
    for name, (node, _) in plain.items():
        opaque = graph.add(f"{name}_opaque", "ThresholdMask", mask=[node, 1], value=1.0)  # nothing is above 1
        graph.add(f"{name}_rgba", "JoinImageWithAlpha", image=[node, 0], alpha=opaque)
        graph.set("identities", **{name: [f"{name}_rgba", 0]})
    assert torch.equal(tensors(graph, image=["identities", 1])["image"], expected)


@pytest.mark.node("SCAIL2Identities")
def test_the_node_shows_its_sheet(comfy, graph, tmp_path):
    add_inputs(graph)
    outputs = comfy.run(graph.save(tmp_path / "x.safetensors", image=["identities", 1]))
    (shown,) = outputs["identities"]["images"]
    assert (comfy.base / "temp" / shown["filename"]).is_file()


@pytest.fixture
def three_and_two(graph, tmp_path):
    """Three people in the reference, two in the driving video, and nothing that says who is who."""
    add_inputs(graph, people=2)
    graph.set("identities", **tracked(graph, 2))
    graph.set("reference_track", name="reference_mask1", copies=3)
    return graph.save(tmp_path / "x.safetensors", image=["identities", 1])


def heard(comfy, graph, **extra):
    """(what a run's client hears of the node, type of the last message, its data)"""
    with comfy.listen() as listener:
        messages, _ = listener.until_done(comfy.queue(graph, client_id=listener.client_id, **extra))
    return ([message["data"] for message in messages if message["type"] == "executed"
             and message["data"]["node"] == "identities"], messages[-1]["type"], messages[-1]["data"])


@pytest.mark.parametrize(("texts", "error"), [
    ({}, "2 people, but the reference mask has 3 people: choose who belongs together in the table on the node"),
    ({"binding": "1:5"}, "names person 5 of the driving mask, but the people there are 1, 2: use one of these numbers, "
                         "or choose in the table on the node"),
    ({"binding": "1:2, 3:1", "front": "2"}, 'front is "2"'),
])
@pytest.mark.node("SCAIL2Identities")
def test_who_is_there_is_told_although_the_node_fails(comfy, three_and_two, texts, error):
    (told,), end, failed = heard(comfy, three_and_two.set("identities", **texts))
    cards = told["output"]["scail2_identities"]
    assert (told["display_node"], told["prompt_id"]) == ("identities", failed["prompt_id"])
    assert [(card["side"], card["number"]) for card in cards] == [
        ("reference", 1), ("reference", 2), ("reference", 3), ("driving", 1), ("driving", 2)]
    for card in cards:
        assert (comfy.base / "temp" / card["thumbnail"]["filename"]).is_file()
    assert (end, failed["node_id"]) == ("execution_error", "identities")
    assert error in failed["exception_message"]


def test_what_the_table_would_write_then_passes(comfy, three_and_two):
    (told,), end, _ = heard(comfy, three_and_two.set("identities", binding="3:1, 1:2"))
    assert end == "execution_success"
    assert "images" in told["output"]


def test_nothing_is_told_where_there_is_nothing_to_choose(comfy, three_and_two):
    three_and_two.set("identities", reference_masks=three_and_two.pictures("empty", "empty"))
    told, end, failed = heard(comfy, three_and_two)
    assert (told, end) == ([], "execution_error")
    assert "The reference mask is empty" in failed["exception_message"]


def test_nobody_else_hears_of_a_program_s_run(comfy, three_and_two):
    with comfy.listen() as page:
        alone = comfy.queue(three_and_two)
        messages, _ = page.until_done(comfy.queue(three_and_two, client_id=page.client_id))
    told = [message["data"]["prompt_id"] for message in messages if message["type"] == "executed"]
    assert told
    assert alone not in told
    assert comfy.wait(alone)["status"]["messages"][-1][0] == "execution_error"


def test_a_page_that_was_opened_anew_hears_of_a_run_that_is_remembered(comfy, three_and_two):
    three_and_two.set("identities", binding="2:1, 1:2")
    (first,), _, _ = heard(comfy, three_and_two)
    (again,), _, _ = heard(comfy, three_and_two)
    assert again["output"] == first["output"]
