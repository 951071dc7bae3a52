"""Masks in flat colours of any kind: a person for each, through a lossy codec too; pictures and gradients are none."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
import torch
from examples import LEFT, MIDDLE, RIGHT, filmed, overlap, painted, silhouettes

from scail_model.identity.flat_colours import from_flat_colours

DAVIS = [(128, 0, 0), (0, 128, 0), (128, 128, 0)]


def read(frames):
    frames = torch.from_numpy(np.ascontiguousarray(frames))
    return from_flat_colours(lambda: iter(frames), len(frames), "driving")


def compressed(frames: np.ndarray, crf: int) -> np.ndarray:
    """Through H.264 in 4:2:0."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=16, options={"crf": str(crf)})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("crf", [None, 18, 28])
@pytest.mark.parametrize("ground", [(0, 0, 0), (255, 255, 255)])
@pytest.mark.parametrize("colours", [DAVIS, [(200, 200, 200), (255, 128, 0), (90, 60, 200)]], ids=["DAVIS", "others"])
def test_a_person_for_each_colour_from_left_to_right(colours, ground, crf):
    masks = silhouettes([RIGHT, LEFT, MIDDLE])
    frames = painted(masks, colours, ground)
    if ground == (255, 255, 255) and colours[0] == (200, 200, 200) and crf:
        colours[0] = (150, 150, 150)  # nearer to white than a codec is exact
        frames = painted(masks, colours, ground)
    source = read(frames if crf is None else compressed(frames, crf))
    assert (source.labels, source.mask_set.people, len(source.mask_set)) == (None, 3, 6)
    for frame in range(6):
        found = source.mask_set.frame(frame)
        for person, mask in zip(found, masks[[1, 2, 0], frame], strict=True):
            assert overlap(person, mask) > (0.999 if crf is None else 0.9)


def test_whoever_comes_late_is_found():
    source = read(painted(silhouettes([LEFT, None]), DAVIS[:2]))
    assert [bool(track.masks[0].area) for track in source.mask_set.tracks] == [True, False]


@pytest.mark.parametrize("frames", [
    filmed(silhouettes([LEFT])),
    np.broadcast_to(np.linspace(0, 255, 160).astype(np.uint8)[None, None, :, None], (2, 96, 160, 3)),
    np.zeros((2, 96, 160, 3), np.uint8),
    np.full((2, 96, 160, 3), 128, np.uint8),
], ids=["a film", "a gradient", "nobody", "without a ground"])
def test_what_is_no_mask(frames):
    assert read(frames) is None
