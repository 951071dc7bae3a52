"""The driving side of segments, read ahead: what is read at once, in any order, and its errors in their place."""

import threading

import av
import numpy as np
import pytest
import torch

from scail_model.identity.binding import bind
from scail_model.identity.mask_sources import from_masks
from scail_model.inputs import conditioning
from scail_model.inputs.crops import BOXES, PEOPLE, Crop
from scail_model.inputs.driving import Reader, segment_mask, segment_pixels
from scail_model.media.clips import TensorClip
from scail_model.media.video_file import FileClip
from scail_model.segments import plan_segments

FRAMES, SIZE = 43, (64, 96)


def nothing():
    pass


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A file of noise, so that every frame differs."""
    made = tmp_path_factory.mktemp("driving") / "a.mp4"
    draw = np.random.default_rng(0)
    with av.open(str(made), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"g": "10"})
        stream.height, stream.width, stream.pix_fmt = 90, 160, "yuv420p"
        for _ in range(FRAMES):
            picture = draw.integers(0, 256, (9, 16, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return made


@pytest.fixture(scope="module")
def identities():
    driving = torch.zeros(FRAMES, 90, 160)
    for index in range(FRAMES):
        driving[index, 20:70, 2 * index : 2 * index + 40] = 1
    reference = torch.ones(1, 120, 100)
    return bind("replacement", from_masks([driving], "driving"), [from_masks([reference], "reference")])


@pytest.mark.parametrize("crop", [None, Crop(PEOPLE), Crop(BOXES, 0.2)])
def test_a_segment_is_its_frames_at_half_size(path, identities, crop):
    """Two stretches and padding, against all frames in one go."""
    segment = plan_segments(FRAMES, 41, 5)[1]
    assert (segment.start, segment.stop, segment.length) == (36, 43, 9)
    whole = plan_segments(FRAMES, 81, 5)[0]
    for part in (segment, whole):
        frames = FileClip(path).read(part.start, part.stop)
        if crop:
            frames = crop.applied(frames, identities, part.start)
        expected = conditioning.driving_pixels(frames, *SIZE)
        expected = torch.cat((expected, expected[-1:].expand(part.padding, -1, -1, -1)))
        found = segment_pixels(FileClip(path), identities, part, SIZE, crop)
        assert torch.equal(found, expected)


@pytest.fixture
def reader(identities):
    made = []

    def build(clip, tick=nothing, plan=None):
        made.append(Reader(clip, identities, plan or plan_segments(FRAMES, 17, 5), crop=None, tick=tick))
        return made[-1]

    yield build
    for one in made:
        one.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scail2")]


def test_what_was_read_ahead_is_what_is_read_at_once(path, identities, reader):
    """One ahead, one that nobody had asked for, and one that was prepared in vain."""
    clip, plan = FileClip(path), plan_segments(FRAMES, 17, 5)
    reads = reader(clip)
    reads.begin(0, SIZE)
    for index, ahead in ((0, 1), (1, 3), (2, None), (3, None)):
        pixels, mask, _ = reads.take(index, SIZE)
        if ahead is not None:
            reads.begin(ahead, SIZE)
        assert torch.equal(pixels, segment_pixels(FileClip(path), identities, plan[index], SIZE))
        assert torch.equal(reads.waited(mask), segment_mask(identities, plan[index], SIZE, nothing))


def test_the_clip_itself_stays_where_it_was(path, identities, reader):
    """Others go on reading it, and its tick is called by nobody else's thread."""
    threads = set()
    clip = FileClip(path, tick=lambda: threads.add(threading.get_ident()))
    reads = reader(clip)
    reads.begin(0, SIZE)
    one_by_one = [clip.read(index, index + 1) for index in range(FRAMES)]
    assert torch.equal(torch.cat(one_by_one), FileClip(path).read(0, FRAMES))
    reads.take(0, SIZE)
    assert threads == {threading.get_ident()}


def test_an_error_ahead_is_raised_when_its_segment_is_taken(path, tmp_path, reader):
    other = tmp_path / "b.mp4"
    other.write_bytes(path.read_bytes())
    reads = reader(FileClip(other))
    assert len(reads.take(0, SIZE)[0]) == 17
    other.write_bytes(path.read_bytes() + b"\0")
    reads.begin(1, SIZE)
    with pytest.raises(RuntimeError, match=r"driving video .*b\.mp4 has been replaced while it was in use"):
        reads.take(1, SIZE)


def test_cancel_ends_the_reading(reader):
    class Cancelled(BaseException):
        pass

    def cancel():
        raise Cancelled

    images = torch.zeros(FRAMES, 90, 160, 3)
    with pytest.raises(Cancelled):
        reader(TensorClip(images), cancel, plan_segments(FRAMES, 41, 5)).take(0, SIZE)
