"""Time stamps decide when a frame is shown: rates, variable or not, and the frames that are picked for another rate."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from scail_model.media.clips import TensorClip
from scail_model.media.retiming import picked_like, retimed
from scail_model.media.time_stamps import shown_times, usual_rate
from scail_model.media.video_file import FileClip, open_clip

MILLISECONDS = Fraction(1, 1000)
ALTERNATING = [0, *np.cumsum([33, 34, 33, 46, 21, 33] * 30).tolist()]  # a browser on a busy machine


def shades(count):
    """Flat frames of as many levels of grey, uint8 [n, 32, 32, 3]."""
    return np.repeat(np.linspace(0, 255, count).round().astype(np.uint8), 32 * 32 * 3).reshape(count, 32, 32, 3)


def write(path, stamps, clock=MILLISECONDS, stated=None):
    """Lossless flat frames at these time stamps, in ticks."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=stated or 25)
        stream.height = stream.width = 32
        stream.pix_fmt = "gray"
        stream.codec_context.time_base = clock
        for stamp, shade in zip(stamps, shades(len(stamps)), strict=True):
            frame = av.VideoFrame.from_ndarray(shade, format="rgb24")
            frame.pts, frame.time_base = stamp, clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown(stamps, time):
    """The frame that a player shows, by the definition."""
    return max(index for index, stamp in enumerate(stamps) if stamp <= time + 0.5)


CONSTANT = {
    "25 a second": ([40 * index for index in range(30)], 25),
    "30 a second, rounded to milliseconds": ([round(index * 100 / 3) for index in range(400)], 30),
    "29.97 a second, rounded": ([round(index * 1001 / 30) for index in range(900)], Fraction(30000, 1001)),
    "60 a second, with the jitter of a phone": (
        [round(index * 50 / 3 + 2 * (-1) ** index) + 2 for index in range(240)], 60),
    "30 a second, with the jitter of a browser": (ALTERNATING, 30),
    "one every two seconds": ([2000 * index for index in range(7)], Fraction(1, 2)),
}


@pytest.mark.parametrize("kind", CONSTANT)
def test_a_constant_rate_takes_every_frame(tmp_path, kind):
    stamps, rate = CONSTANT[kind]
    clip = FileClip(write(tmp_path / "a.mkv", stamps))
    assert not clip.variable
    assert float(clip.rate) == pytest.approx(float(rate), rel=1e-3)
    assert retimed(clip) is clip
    assert retimed(clip, float(rate)) is clip
    assert clip.warnings == []
    assert clip.indices == range(len(stamps))


VARIABLE = {
    "a gap of two seconds": ([40 * index + 2000 * (index > 9) for index in range(20)], 25),
    "every tenth frame dropped": ([40 * index for index in range(100) if index % 10 != 5], 25),
    "one frame dropped": ([40 * index for index in range(100) if index != 50], 25),
    "first 20, then 5 a second": (
        [50 * index for index in range(20)] + [1000 + 200 * index for index in range(10)], 20),
    "the jitter of a browser, and a gap": (ALTERNATING[:99] + [time + 700 for time in ALTERNATING[99:]], 30),
}


@pytest.mark.parametrize("kind", VARIABLE)
@pytest.mark.parametrize("rate", [None, 16, Fraction(24000, 1001)])
def test_a_variable_rate_is_read_by_time_stamp(tmp_path, kind, rate):
    """As long in seconds, and no frame more than half a frame off the time at which it is shown."""
    stamps, usual = VARIABLE[kind]
    clip = FileClip(write(tmp_path / "a.mkv", stamps))
    assert clip.variable
    assert clip.rate == usual
    found = retimed(clip, rate)
    assert found.rate == (rate or usual)
    seconds = (stamps[-1] - stamps[0]) / 1000 + 1 / usual
    assert len(found) == pytest.approx(seconds * found.rate, abs=0.6)
    period = 1000 / float(found.rate)
    for number, index in enumerate(found.indices):
        assert shown(stamps, number * period) <= index <= shown(stamps, (number + 0.5) * period + 0.5)
    assert torch.equal(found.read(3, 9), clip.read(0, len(clip))[found.indices[3:9]])
    assert found.stored == len(stamps)
    assert (rate is None) == any("variable frame rate" in text for text in found.warnings)
    assert found.digest() != clip.digest()


def test_the_warning_says_seconds_and_frames(tmp_path):
    path = write(tmp_path / "a.mkv", VARIABLE["a gap of two seconds"][0])
    assert open_clip(path).warnings == [
        "The video has a variable frame rate: read by time stamp at its most usual rate, 25 per second, its 20 frames "
        "become 70 (2.80 seconds); set rate for another one."]


@pytest.mark.parametrize(("rate", "expected"), [
    (15, [0, 2, 4, 6, 8, 10]), (30, range(12)), (60, sorted([*range(12)] * 2)), (12, [0, 2, 5, 7, 10])])
def test_an_explicit_rate_of_a_constant_clip(rate, expected):
    clip = TensorClip(torch.from_numpy(shades(12)), Fraction(30))
    found = retimed(clip, rate)
    assert list(found.indices) == list(expected)
    assert torch.equal(found.read(0, len(found)), torch.from_numpy(shades(12))[list(expected)])
    assert (found is clip) == (rate == 30)


def test_frames_without_a_rate():
    clip = TensorClip(torch.zeros(20, 4, 4, 3))
    assert retimed(clip) is clip
    with pytest.raises(ValueError, match="rate asks for frames by time, but the frames have no frame rate: give a"):
        retimed(clip, 8)
    assert len(retimed(clip, 8, assumed=Fraction(16))) == 10


@pytest.mark.parametrize("rate", [0, -3, float("nan"), float("inf")])
def test_rates_that_cannot_be(rate):
    with pytest.raises(ValueError, match=f"rate is {rate}, but it must be positive: give frames per second"):
        retimed(TensorClip(torch.zeros(2, 4, 4, 3), Fraction(25)), rate)


def test_masks_are_picked_at_the_frames_of_the_driving_video(tmp_path):
    driving = retimed(FileClip(write(tmp_path / "a.mkv", VARIABLE["a gap of two seconds"][0])), 16)
    other = FileClip(write(tmp_path / "mask.mkv", [40 * index for index in range(20)]))
    masks = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(20, 4, 4, 3)
    assert picked_like(other, driving).indices == driving.indices  # whatever time stamps a file of masks has
    assert picked_like(TensorClip(masks), driving).read(0, len(driving))[:, 0, 0, 0].tolist() == driving.indices
    ready = TensorClip(torch.zeros(len(driving), 4, 4, 3))
    assert picked_like(ready, driving) is ready
    half = FileClip(write(tmp_path / "half.mkv", [80 * index for index in range(35)]))  # 2.8 seconds
    assert len(picked_like(half, driving)) == len(driving)


def test_reading_holds_the_picked_frames_only(tmp_path, monkeypatch):
    """Of a clip of 240 frames a second at 10, one in 24 is made into pixels."""
    from scail_model.media import video_file

    converted = []
    monkeypatch.setattr(video_file, "levels", lambda frame, look: converted.append(frame.pts) or np.zeros((3, 32, 32)))
    clip = retimed(FileClip(write(tmp_path / "a.mkv", [round(index * 25 / 6) for index in range(480)])), 10)
    converted.clear()
    clip.read(4, 9)
    assert len(converted) == 5


# Time stamps by themselves

@pytest.mark.parametrize(("stamps", "expected"), [
    ([0, 40, 80], [0, 0.04, 0.08]),
    ([1000, 1040, 1080], [0, 0.04, 0.08]),  # recordings begin anywhere
    ([0, 0, 80, 80, 160], [0, 0.04, 0.08, 0.12, 0.16]),  # two frames share a time stamp and the time after it
    ([0, None, 80], [0, 0.04, 0.08]),
    ([None, None, None], [0, 0.04, 0.08]),  # a stream without a container
    ([0, 40, 20, 120], [0, 0.04, 0.08, 0.12]),  # a time stamp that goes back
])
def test_when_frames_are_shown(stamps, expected):
    assert shown_times(stamps, MILLISECONDS, 0.04).tolist() == pytest.approx(expected)


def test_the_usual_rate_of_noise_is_its_middle():
    gaps = np.random.default_rng(0).uniform(0.02, 0.047, 2000)
    assert float(usual_rate(np.cumsum(gaps))) == pytest.approx(30, abs=1)
    assert usual_rate(np.zeros(1)) is None
