"""Kinds of driving videos and masks, at the rates that users ask for: the frames that a run reads, or the sentence.

Frames are as bright as their number, and a mask is a row of as many pixels, so that both tell which frame they are.
"""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from preflight_jobs import job, texts
from test_retiming import write

from scail_model.identity import binding, mask_sources
from scail_model.media.clips import TensorClip
from scail_model.media.video_file import FileClip
from scail_model.preflight.checks import check
from scail_model.video.options import TRIM, VideoOptions

CLOCK = Fraction(1, 1000)
STEADY_60 = [round(index * 50 / 3) for index in range(240)]  # 4 s
STEADY_30 = [round(index * 100 / 3) for index in range(120)]
DROPPED = [40 * index for index in range(100) if index % 10 != 5]  # 25 a second, every tenth missing: 4 s
OF_30_AT_16 = [int(index / 16 * 30 + 1e-6) for index in range(64)]
# name: time stamps in milliseconds (None: 48 images), number of masks, settings, frames read, masks read
PICKED = {
    "every frame of 30 a second": (STEADY_30, 120, {}, list(range(120)), list(range(120))),
    "60 a second as it is": (STEADY_60, 240, {}, list(range(240)), list(range(240))),
    "60 at half its rate": (STEADY_60, 240, {"rate": 30.0}, list(range(0, 240, 2)), list(range(0, 240, 2))),
    "30 at the model's rate": (STEADY_30, 120, {"rate": 16.0}, OF_30_AT_16, OF_30_AT_16),
    "masks made of the picked frames": (STEADY_30, 64, {"rate": 16.0}, OF_30_AT_16, list(range(64))),
    "its own rate, asked for": (STEADY_30, 120, {"rate": 30.0}, list(range(120)), list(range(120))),
    "every tenth frame dropped": (DROPPED, 90, {}, [
        max(i for i, stamp in enumerate(DROPPED) if stamp <= 40 * shown + 20) for shown in range(100)], "as the video"),
    "images, at the rate that fps says": (None, 48, {"rate": 12.0, "fps": 24.0}, list(range(0, 48, 2)),
                                          list(range(0, 48, 2))),
    "images, every frame": (None, 48, {"fps": 60.0}, list(range(48)), list(range(48))),
    "337 masks for 344 frames": ([40 * index for index in range(344)], 337, {"length_mismatch": TRIM},
                                 list(range(337)), list(range(337))),
    "more masks than frames": (STEADY_30, 124, {"length_mismatch": TRIM}, list(range(120)), list(range(120))),
    "fewer masks, at another rate": (STEADY_30, 113, {"rate": 16.0, "length_mismatch": TRIM},
                                     [i for i in OF_30_AT_16 if i < 113], [i for i in OF_30_AT_16 if i < 113]),
    "two masks fewer than the picked frames": (STEADY_30, 62, {"rate": 16.0, "length_mismatch": TRIM},
                                               OF_30_AT_16[:62], list(range(62))),
    "fewer masks than images": (None, 40, {"length_mismatch": TRIM}, list(range(40)), list(range(40))),
}


def masks(count, width=512):
    drawn = torch.zeros(count, 32, width)
    for index, mask in enumerate(drawn):
        mask[:, : index + 1] = 1
    source = mask_sources.from_masks([drawn], "driving")
    return binding.bind("animation", source, [mask_sources.from_masks([drawn[:1]], "reference")])


def numbers_of(masks):
    return [int(area) // 32 - 1 for area in masks.driving.extents[0].area]


def read(tmp_path, stamps, count, settings):
    """What a run reads, and how bright the stored frames are."""
    options = VideoOptions(**settings)
    options.check_values()
    if stamps is None:
        stored = TensorClip(torch.arange(48, dtype=torch.uint8)[:, None, None, None].expand(48, 32, 32, 3).contiguous())
    else:
        stored = FileClip(write(tmp_path / "driving.mkv", stamps))
    return *options.timed(stored, masks(count)), stored, options


@pytest.mark.parametrize("kind", PICKED)
def test_frames_and_masks_are_picked_alike(tmp_path, kind):
    stamps, count, settings, frames, of_masks = PICKED[kind]
    driving, identities, stored, options = read(tmp_path, stamps, count, settings)
    bright = [int(frame[0, 0, 0]) for frame in stored]
    assert [int(frame[0, 0, 0]) for frame in driving] == [bright[index] for index in frames]
    assert len(driving) == len(identities.driving)
    assert numbers_of(identities) == (frames if of_masks == "as the video" else of_masks)
    if settings.get("rate"):
        assert options.result_rate(driving) == settings["rate"]
    if settings.get("rate") and "length_mismatch" not in settings:
        seconds = 2.0 if stamps is None else 4.0
        assert len(driving) / options.result_rate(driving) == pytest.approx(seconds, abs=0.5 / settings["rate"])


@pytest.mark.parametrize(("kind", "text"), [
    ("337 masks for 344 frames", "has 344 frames, but its mask has 337, and length_mismatch is set to trim: the last 7 "
                                 "frames of the driving video, from 13.48 s on, are left out"),
    ("more masks than frames", "has 120 frames, but its mask has 124, and length_mismatch is set to trim: the last 4 "
                               "frames of the mask are left out"),
    ("every tenth frame dropped", "variable frame rate"),
    ("images, at the rate that fps says", "have no time stamps: they are taken to be 24 a second (fps)"),
])
def test_what_was_done_is_said(tmp_path, kind, text):
    stamps, count, settings, *_ = PICKED[kind]
    driving, *_ = read(tmp_path, stamps, count, settings)
    (said,) = driving.warnings
    assert text in said


def test_masks_that_lack_only_frames_that_are_not_picked_are_not_trimmed(tmp_path):
    driving, *_ = read(tmp_path, STEADY_30, 119, {"rate": 16.0, "length_mismatch": TRIM})
    assert len(driving) == 64
    assert not driving.warnings


# number of masks, settings -> what the check says of 120 frames in 4 s
REFUSED = {
    "masks of another video": (110, {}, "The driving video has 120 frames, but its mask has 110: use a mask made from "
                               "the same video, or set length_mismatch to trim, which leaves out the last 10 frames of "
                               "the driving video."),
    "masks of all seconds at 16 a second": (64, {}, "made from the same video, set rate to 16 if it has that many "
                                            "frames a second, or set length_mismatch to trim"),
    "masks of neither": (100, {"rate": 16.0}, "The driving video has 120 frames (64 at the result's rate), but its "
                         "mask has 100: use a mask made"),
    "one mask too many": (121, {}, "which leaves out the last frame of the mask"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_masks_of_another_length_are_refused(tmp_path, kind):
    count, settings, text = REFUSED[kind]
    driving, identities, *_ = read(tmp_path, STEADY_30, count, settings)
    found = {finding.code: finding.text for finding in check(job(identities, driving=driving))}
    assert text in found["driving_mask_frames"]


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0, 241.0, "16", True, None])
def test_rates_that_are_none(rate):
    with pytest.raises(ValueError, match=r"^rate is .*, but it must be 0.0 to 240.0: correct it.$"):
        VideoOptions(rate=rate).check_values()


@pytest.mark.parametrize(("fps", "level"), [(16, None), (20, None), (24, "fact"), (30, "fact"), (50, "warning"),
                                            (60, "warning"), (120, "warning")])
def test_fast_videos_hear_what_a_segment_shows(fps, level):
    found = [finding for finding in check(job(fps=float(fps))) if finding.code == "rate"]
    assert [finding.level for finding in found] == ([level] if level else [])
    for finding in found:
        assert f"a segment of 81 frames shows only {81 / fps:.2f} s of it: set rate to 16 for 5.06 s" in finding.text
        assert finding.input == "rate"


def test_frames_that_are_repeated_are_named(tmp_path):
    driving, identities, *_ = read(tmp_path, STEADY_30, 120, {"rate": 60.0})
    found = {finding.code: finding.text for finding in check(job(identities, driving=driving, fps=60.0))}
    assert found["rate"].startswith("rate asks for 60 frames a second, but the driving video has 30, so frames are rep")


def test_frames_that_a_variable_rate_holds_are_not(tmp_path):
    driving, identities, *_ = read(tmp_path, DROPPED, 90, {})
    found = {finding.code: finding.text for finding in check(job(identities, driving=driving, fps=25.0))}
    assert found["rate"].startswith("The driving video is read at 25 frames a second")


def test_facts_speak_in_seconds_and_frames(tmp_path):
    driving, identities, *_ = read(tmp_path, STEADY_30, 120, {"rate": 16.0})
    wide = replace(job(identities, driving=driving, width=512, height=32), segment_length=33)
    found = texts(wide, "fact")
    assert found["driving"] == "driving video: 64 frames of 32x32, 4.0 s at 16 fps"
    assert found["picked"] == "64 frames are read of the 120 in the driving video, 16 a second"
    assert "in 3 segment(s) of 33, 33, 9 frames (2.06 s at the most)" in found["segments"]
