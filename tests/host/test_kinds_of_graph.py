"""Kinds of graphs as users build and post them, each with the right video or its sentence.

Numbers in number fields, masks that are missing or of another length, driving videos at another rate.
"""

from __future__ import annotations

import copy
import json
import re

import assets
import pytest
from graphs import add_inputs, add_motion, add_sample_video, load
from sampling import sampled

NAN, INFINITE = float("nan"), float("inf")
# what a program posts: node, input and value -> what ComfyUI answers, without running anything
POSTED = {
    "a word for a whole number": ("sampled", "steps", "True", "invalid literal for int() with base 10: 'True'"),
    "nothing for a whole number": ("sampled", "steps", "", "invalid literal for int()"),
    "a word for a fraction": ("sampled", "guidance", "True", "could not convert string to float: 'True'"),
    "nothing for a fraction": ("check", "guidance", "", "could not convert string to float"),
    "no end to a shift": ("sampled", "shift", INFINITE, "Value inf bigger than max of 100.0"),
    "a shift of a milliard": ("sampled", "shift", 1e9, "Value 1000000000.0 bigger than max of 100.0"),
    "a text that is a large number": ("sampled", "shift", "1e9", "Value 1000000000.0 bigger than max of 100.0"),
    "a negative rate": ("sampled", "rate", -1, "Value -1.0 smaller than min of 0.0"),
    "an end after the end": ("motion", "driving_end", 1.5, "Value 1.5 bigger than max of 1.0"),
    "a seed of 65 bits": ("sampled", "seed", 2**64, "bigger than max of 18446744073709551615"),
    "a negative seed": ("sampled", "seed", -1, "smaller than min of 0"),
    "a choice that there is not": ("sampled", "length_mismatch", "cut", "'cut' not in"),
}
# what ComfyUI lets through: node, input and value -> what the node says, with nothing loaded or written
LET_THROUGH = {
    "NaN as a text": ("sampled", "guidance", "nan", "guidance is nan, but it must be 1.0 to 30.0: correct it."),
    "NaN as JSON": ("check", "guidance", NAN, "guidance is nan, but it must be 1.0 to 30.0: correct it."),
    "a shift that is no number": ("sampled", "shift", NAN, "shift is nan, but it must be 0.01 to 100.0: correct it."),
    "no history strength": ("check", "history_strength", NAN, "history_strength is nan, but it must be 0.0 to 1.0"),
    "a rate that is not a number": ("motion", "rate", NAN, "rate is nan, but it must be 0.0 to 240.0: correct it."),
    "a part that is not a number": ("motion", "driving_start", "nan", "driving_start is nan, but it must be"),
    "a range without a step": ("sampled", "driving_start", 1.0, "driving_start is 1 and driving_end 1, but"),
}
# what another node gives, which ComfyUI does not look at: JSON, input -> the sentence
CONNECTED = {
    "a word for a whole number": ('"True"', "steps", 'steps is "True", but it must be a whole number from 1 to 1000'),
    "true for a whole number": ("true", "steps", "steps is True, but it must be a whole number from 1 to 1000"),
    "a fraction for a whole number": ("7.5", "steps", "steps is 7.5, but it must be a whole number from 1 to 1000"),
    "nothing for a fraction": ('""', "shift", 'shift is "", but it must be 0.01 to 100.0: correct it.'),
    "NaN": ("NaN", "guidance", "guidance is nan, but it must be 1.0 to 30.0: correct it."),
    "true for a fraction": ("true", "rate", "rate is True, but it must be 0.0 to 240.0: correct it."),
    "no steps": ("0", "steps", "steps is 0, but it must be a whole number from 1 to 1000: correct it."),
    "a number for a choice": ("1", "length_mismatch", "length_mismatch is 1, but it must be one of refuse, trim"),
    "a list for a text": ("[1]", "plan", "plan is [1], but it must be a text: correct it."),
    "a seed of 65 bits": (str(2**64), "seed", "seed is 18446744073709551616, but it must be a whole number of at most"),
    "a negative seed": ("-1", "seed", "seed is -1, but it must be a whole number of at most 64 bits"),
    "null for a fraction": ("null", "driving_end", "driving_end is None, but it must be 0.0 to 1.0: correct it."),
}


@pytest.fixture
def base(graph):
    """A graph that runs: a video, a check and one segment, of 9 images of a person who moves."""
    add_inputs(graph)
    model = load(graph)
    add_sample_video(graph, model, steps=1)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    graph.add("check", "SCAIL2Preflight", model=model, solver="unipc", steps=1, shift=3.0, guidance=1.0,
              **{name: [name, 0] for name in ("positive", "negative", "vae", "reference", "driving", "identities")})
    graph.save("/dev/null", conditioning=add_motion(graph))
    return graph


def only(graph, *names):
    """The graph without the ends that a test does not need."""
    ends = {"sampled": ("sampled", "report"), "check": ("check",), "motion": ("motion", "saved")}
    for name, nodes in ends.items():
        for node in nodes if name not in names else ():
            del graph[node]
    return graph


def film(graph, **inputs):
    """The driving video and its mask as files: 21 frames at 12.5 a second, 1.68 s with a tone."""
    graph.add("driving", "LoadVideo", file="driving.mp4")
    graph.add("driving_mask", "LoadVideo", file="driving_mask.mp4")
    return graph.set("identities", **inputs)


@pytest.mark.parametrize("kind", POSTED)
def test_values_that_are_posted(comfy, base, kind):
    node, name, value, text = POSTED[kind]
    only(base, node).set(node, **{name: value})
    with pytest.raises(RuntimeError) as refused:
        comfy.queue(base)
    errors = [error for found in json.loads(str(refused.value))["node_errors"].values() for error in found["errors"]]
    assert [text in f"{error['message']} {error['details']}" for error in errors] == [True]


@pytest.mark.parametrize("kind", LET_THROUGH)
def test_values_that_comfyui_lets_through(comfy, base, kind):
    node, name, value, text = LET_THROUGH[kind]
    only(base, node).set(node, **{name: value})
    files, size = comfy.files(), comfy.log_size()
    with pytest.raises(RuntimeError, match=re.escape(text)):
        comfy.run(base)
    assert comfy.files() == files
    assert "Requested to load SCAIL2" not in comfy.log_since(size)


@pytest.mark.parametrize("kind", CONNECTED)
def test_values_of_other_nodes(comfy, base, kind):
    value, name, text = CONNECTED[kind]
    only(base, "sampled").set("sampled", **{name: base.add("value", "TestAnything", text=value)})
    with pytest.raises(RuntimeError, match=re.escape(text)):
        comfy.run(base)


def test_a_raw_driving_video_for_a_mask_names_the_switch(comfy, base):
    film(only(base, "sampled"), driving_masks=["driving", 0], reference_masks=["reference_image", 0])
    with pytest.raises(RuntimeError, match="contains other colours .* if there is no mask and this is the picture "
                                           "itself, set whole_picture"):
        comfy.run(base)


@pytest.mark.parametrize(("node", "inputs", "text"), [
    ("ConditioningSetArea", {"width": 64, "height": 64, "x": 32, "y": 0, "strength": 1.0},
     "The positive prompt holds for an area, as ConditioningSetArea sets it, but SCAIL-2 reads it for the whole"),
    ("ConditioningSetAreaPercentage", {"width": 1.0, "height": 1.0, "x": 0.0, "y": 0.0, "strength": 1.0},
     "The positive prompt holds for an area"),
    ("WanImageToVideo", {"length": 9, "width": 64, "height": 64, "batch_size": 1,
                         "start_image": ["reference_image", 0]},
     "The positive prompt carries concat_latent_image, which a node for another model has set"),
])
def test_prompts_that_carry_more_than_text(comfy, base, node, inputs, text):
    """The start image went into the channels that tell SCAIL-2 of the history."""
    names = {"positive": "positive", "negative": "negative", "vae": "vae"} if node.startswith("Wan") else {
        "conditioning": "positive"}
    base.add("more", node, **{name: [source, 0] for name, source in names.items()}, **inputs)
    for end in ("sampled", "motion"):
        graph = only(copy.deepcopy(base), end).set(end, positive=["more", 0])
        with pytest.raises(RuntimeError, match=re.escape(text)):
            comfy.run(graph)


def test_one_person_the_whole_picture(comfy, base):
    film(only(base, "sampled", "check"), driving_masks=["driving", 0], reference_masks=["reference_image", 0],
         whole_picture=True)
    base.add("who", "PreviewAny", source=["identities", 3])
    outputs = comfy.run(base)
    assert "no masks: one person, the whole picture" in outputs["who"]["text"][0]
    assert "no masks: one person, the whole picture" in outputs["check"]["text"][0]
    codes = {row["code"] for row in outputs["check"]["scail2_findings"]}
    assert "whole_picture" in codes  # a warning
    assert not codes & {"huge", "reference_crop", "driving_crop", "scale"}
    assert assets.probe(sampled(outputs["report"]["text"][0]).video)["frames"] == 21
    (person, _) = outputs["identities"]["scail2_identities"]
    assert person["coverage"] == 1


@pytest.mark.parametrize(("changes", "text"), [
    ({"mode": "replacement"}, "whole_picture is set in replacement, but then nothing of the driving video's scene"),
    ({"driving_masks": ["driving_mask_picture", 1]}, "whole_picture is on, but driving_masks has masks: connect the"),
    ({"reference_masks": ["reference_mask", 1]}, "whole_picture is on, but reference_masks has masks"),
    ({"driving_masks": ["driving_mask", 0]}, "whole_picture is on, but driving_masks shows people in the colours"),
    ({"reference_masks": ["reference_mask", 0]}, "whole_picture is on, but reference_masks shows people in the col"),
    # a program that posts words: ComfyUI takes every word for true
    ({"driving_masks": ["driving_mask", 0], "whole_picture": "False"}, "turn whole_picture off"),
])
def test_whole_pictures_with_masks(comfy, base, changes, text):
    base.pictures("driving_mask_picture", "driving_mask1")
    film(only(base, "check"), driving_masks=["driving", 0], reference_masks=["reference_image", 0], whole_picture=True)
    base.set("identities", **changes)
    with pytest.raises(RuntimeError, match=re.escape(text)):
        comfy.run(base)


def test_fewer_masks_than_frames(comfy, base):
    """As after a tool that leaves the last frames out: 19 masks for 21 frames are refused with the switch's name."""
    film(only(base, "sampled"))
    base["driving_mask"] = {"class_type": "TestImages", "inputs": {"path": base.images, "name": "driving_mask1",
                                                                   "frames": 19}}
    with pytest.raises(RuntimeError, match="has 21 frames, but its mask has 19: .* or set length_mismatch to trim, "
                                           "which leaves out the last 2 frames of the driving video"):
        comfy.run(base)
    report = comfy.run(base.set("sampled", length_mismatch="trim"))["report"]["text"][0]
    assert "the last 2 frames of the driving video, from 1.52 s on, are left out" in report
    found = assets.probe(sampled(report).video)
    assert (found["frames"], found["fps"]) == (19, assets.FPS)
    assert found["sound"] == pytest.approx(19 / 12.5, abs=0.05)
    # the same where the masks are bound
    base.set("identities", driving=["driving", 0])
    with pytest.raises(RuntimeError, match="SCAIL2Identities: The driving video has 21 frames, but its mask has 19"):
        comfy.run(base)
    comfy.run(base.set("identities", length_mismatch="trim"))


def test_masks_of_another_rate(comfy, base):
    """14 masks for 21 frames, as of a tool that picked two of three: a trim would put them at other times."""
    film(only(base, "check"), driving=["driving", 0])
    base["driving_mask"] = {"class_type": "TestImages", "inputs": {"path": base.images, "name": "driving_mask1",
                                                                   "frames": 14}}
    with pytest.raises(RuntimeError, match="SCAIL2Identities: .* has 21 frames, but its mask has 14: .* leave driving "
                                           "unconnected here and set rate to 8.333 where the video is made if it has"):
        comfy.run(base)
    del base["identities"]["inputs"]["driving"]
    assert "set rate to 8.333 if it has that many frames a second" in comfy.run(base)["check"]["text"][0]
    found = comfy.run(base.set("check", rate=8.333))["check"]["scail2_findings"]
    assert not [row for row in found if row["level"] == "error"]


@pytest.mark.parametrize("masks", ["of every frame", "of the picked frames"])
def test_another_rate(comfy, base, masks):
    """21 frames at 12.5 a second, 5 of which are picked each second: 8 frames in 1.6 of 1.68 s."""
    film(only(base, "sampled", "check"))
    if masks == "of the picked frames":
        base["driving_mask"] = {"class_type": "TestImages", "inputs": {"path": base.images, "name": "driving_mask1",
                                                                       "frames": 8}}
    for node in ("sampled", "check"):
        base.set(node, rate=5.0)
    outputs = comfy.run(base)
    report = outputs["report"]["text"][0]
    assert "8 frames are read of the 21 in the driving video, 5 a second" in report
    assert "8 frames are read of the 21 in the driving video, 5 a second" in outputs["check"]["text"][0]
    found = assets.probe(sampled(report).video)
    assert (found["frames"], found["fps"]) == (8, 5)
    assert found["sound"] == pytest.approx(1.6, abs=0.05)
    facts = outputs["sampled"]["scail2_plan"][0]
    assert (facts["frames"], facts["fps"], facts["rate"], facts["every"]["frames"]) == (8, "5", 5.0, 21)


def test_another_rate_of_images(comfy, base):
    """Images have no time stamps: fps says how many there are a second, and where there is no fps, they are refused."""
    report = comfy.run(only(base, "sampled").set("sampled", rate=8.0, fps=16.0))["report"]["text"][0]
    assert "have no time stamps: they are taken to be 16 a second (fps), and read at 8" in report
    found = assets.probe(sampled(report).video)
    assert (found["frames"], found["fps"]) == (4, 8)
    graph = add_inputs(type(base)(base.images))
    graph.save("/dev/null", conditioning=add_motion(graph, rate=8.0))
    with pytest.raises(RuntimeError, match="rate asks for frames by time, but the frames have no frame rate"):
        comfy.run(graph)


def test_start_frame_counts_picked_frames(comfy, base, tmp_path):
    film(only(base, "motion")).set("motion", rate=5.0, start_frame=8)
    with pytest.raises(RuntimeError, match="starts at frame 8, but the driving video ends after 8 frames"):
        comfy.run(base)
    comfy.run(base.set("motion", start_frame=3, length=5))
