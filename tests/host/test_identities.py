"""SCAIL2Identities in a real ComfyUI: whatever the masks came from, the model gets the same channels."""

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


def test_a_mask_video_is_a_source(comfy, tensors, graph):
    add_inputs(graph)
    motion = add_motion(graph)
    expected = tensors(graph, conditioning=motion)
    graph.add("file", "LoadVideo", file="driving_mask.mp4")
    graph.add("clip9", "Video Slice", video=["file", 0], start_time=0.0, duration=0.72, strict_duration=False)
    graph.set("identities", driving_masks=["clip9", 0])
    assert torch.equal(tensors(graph, conditioning=motion)[CHANNELS[0]], expected[CHANNELS[0]])


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


def test_pictures_with_alpha_are_taken_without_it(tensors, graph):
    add_inputs(graph)
    plain = {"driving": ["driving", 0], "reference_image": ["reference_image", 0]}
    graph.set("identities", **plain)
    expected = tensors(graph, image=["identities", 1])["image"]
    for name, (node, _) in plain.items():
        graph.add(f"{name}_rgba", "JoinImageWithAlpha", image=[node, 0], alpha=[node, 1])
        graph.set("identities", **{name: [f"{name}_rgba", 0]})
    assert torch.equal(tensors(graph, image=["identities", 1])["image"], expected)


def test_the_node_shows_its_sheet(comfy, graph, tmp_path):
    add_inputs(graph)
    outputs = comfy.run(graph.save(tmp_path / "x.safetensors", image=["identities", 1]))
    (shown,) = outputs["identities"]["images"]
    assert (comfy.base / "temp" / shown["filename"]).is_file()
