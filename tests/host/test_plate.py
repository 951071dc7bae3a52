"""A plate in ComfyUI: outside of the people the video is the driving video, and a plate changes parts alone."""

import json

import assets
import av
import numpy as np
import pytest
import torch
from graphs import Graph, add_inputs, add_sample_video, load
from safetensors.torch import load_file
from sampling import Sampled, sample
from scipy import ndimage

from scail_model.video import open_clip

FRAMES, MADE = 13, (96, 32)  # two segments of 9 that share 5; width and height, another shape than the plate's
PLATE = {"plate": "composite", "plate_grow": 2, "plate_feather": 3, "steps": 1, "segment_length": 9}
REACH = 9  # pixels of the plate: grown and feathered, and what the crop rounds


def frames_of(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def inputs(comfy, people=1, mode="replacement", **changes):
    return add_inputs(Graph(comfy.images), people=people, mode=mode, frames=FRAMES, width=MADE[0], height=MADE[1],
                      **changes)


def far_from(masks, colours):
    """Pixels far from everybody in these colours, bool [T, h, w]."""
    people = np.logical_or.reduce([(masks == np.array(colour)).all(-1) for colour in colours])
    return np.stack([ndimage.distance_transform_edt(~frame) > REACH for frame in people])


@pytest.fixture(scope="module")
def drawn(comfy):
    """Pictures and masks of one and two people, by name, uint8 [T, h, w, 3]."""
    return {name: frames[:FRAMES].numpy() for name, frames in load_file(comfy.images).items() if "driving" in name}


@pytest.fixture(scope="module")
def made(comfy) -> Sampled:
    return sample(comfy, inputs(comfy), **PLATE)


BLUE, RED = list(assets.COLOURS.values())[:2]


def test_outside_of_the_person_every_pixel_is_the_driving_videos(made, drawn):
    result, filmed = frames_of(made.video), drawn["driving1"]
    assert result.shape == filmed.shape
    outside = far_from(drawn["driving_mask1"], [BLUE])
    assert 0.2 < outside.mean() < 0.9
    assert np.array_equal(result[outside], filmed[outside])
    inside = (drawn["driving_mask1"] == np.array(BLUE)).all(-1)
    assert np.abs(result[inside].astype(int) - filmed[inside]).mean() > 5
    width, height = filmed.shape[2], filmed.shape[1]
    assert f"13 frames of {width}x{height} with people made at 96x32 in 2 segment(s)" in made.report
    assert "of the pixels are as filmed" in made.report
    assert json.loads((made.folder / "job.json").read_text())["size"] == f"{width}x{height}"


@pytest.mark.parametrize("changes", [{"plate_grow": 5}, {"plate_person": "driven"}, {"plate": "off"}])
def test_another_plate_is_put_in_without_sampling(comfy, made, changes):
    def latents():
        return {path.name: path.stat().st_mtime_ns for path in made.folder.glob("*.latent.safetensors")}

    before, videos = latents(), {path.name for path in made.folder.glob("video-*.mp4")}
    again = sample(comfy, inputs(comfy), **{**PLATE, **changes})
    assert again.folder == made.folder
    assert latents() == before
    assert len(before) == 2
    assert again.video.name not in videos


def test_a_video_file_and_who_is_not_bound_stay_as_filmed(comfy, drawn):
    """Of two people of a VIDEO one is made; the other one is touched by nothing, however far the edge reaches."""
    assets.write_video(comfy.base / "input" / "plate.mp4", torch.from_numpy(drawn["driving2"]), rate=25)
    graph = inputs(comfy, people=2)
    graph.set("identities", binding="1:1")
    graph.add("driving", "LoadVideo", file="plate.mp4")
    shown = sample(comfy, graph, **{**PLATE, "plate_grow": 12})
    result, filmed = frames_of(shown.video), open_clip(comfy.base / "input" / "plate.mp4").read(0, FRAMES).numpy()
    bystander = (drawn["driving_mask2"] == np.array(RED)).all(-1)
    assert bystander.mean() > 0.02
    assert np.array_equal(result[bystander], filmed[bystander])
    person = (drawn["driving_mask2"] == np.array(BLUE)).all(-1)
    near = np.stack([ndimage.distance_transform_edt(~frame) < 8 for frame in person]) & ~person & ~bystander
    assert (result[near] != filmed[near]).any(-1).mean() > 0.5


def test_given_masks_of_the_made_people_count_too(comfy, drawn, tmp_path):
    graph = inputs(comfy)
    graph.add("one", "SolidMask", value=1.0, width=MADE[0], height=MADE[1])
    graph.add("image", "MaskToImage", mask=["one", 0])
    graph.add("batch", "RepeatImageBatch", image=["image", 0], amount=FRAMES)
    graph.add("masks", "ImageToMask", image=["batch", 0], channel="red")
    shown = sample(comfy, graph, plate_masks=["masks", 0], **PLATE)
    result, filmed = frames_of(shown.video), drawn["driving1"]
    assert (result != filmed).any(-1).mean() > 0.4  # all that the made picture shows
    graph.add("batch", "RepeatImageBatch", image=["image", 0], amount=3)
    with pytest.raises(RuntimeError, match="plate_masks have 3 frames, but the result has 13"):
        sample(comfy, graph, plate_masks=["masks", 0], **PLATE)
    graph.set("one", value=0.0)
    with pytest.raises(RuntimeError, match="plate_masks show nobody"):
        sample(comfy, graph, plate_masks=["masks", 0], **PLATE)


def test_in_animation_there_is_no_plate(comfy):
    graph = inputs(comfy, mode="animation")
    add_sample_video(graph, load(graph), **PLATE)
    graph.add("report", "PreviewAny", source=["sampled", 1])
    with pytest.raises(RuntimeError, match="plate is composite, but the mode is animation, which shows the"):
        comfy.run(graph)
