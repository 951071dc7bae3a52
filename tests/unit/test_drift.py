"""Drift: every number against one that is calculated here, planted drifts and seams found, and none where none is."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from scail_model.drift import measure, report
from scail_model.drift.plan import Part, Plan, parse, whole
from scail_model.drift.verdict import GOOD, LIMITS, STRONG, UNSEEN, VISIBLE, Result
from scail_model.geometry import cover_crop
from scail_model.media.clips import TensorClip

HEIGHT, WIDTH = 48, 80
TO_XYZ = np.array(((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750),
                   (0.0193339, 0.1191920, 0.9503041)))  # IEC 61966-2-1
WHITE = TO_XYZ.sum(1)  # D65


def to_lab(rgb):
    """[..., 3] in 0..1 -> CIE LAB."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    ratio = linear @ TO_XYZ.T / WHITE
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack((116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])), -1)


def to_rgb(lab):
    """CIE LAB [..., 3] -> 0..1; colours outside sRGB are a mistake of the test."""
    fy = (lab[..., 0] + 16) / 116
    f = np.stack((fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200), -1)
    ratio = np.where(f > 6 / 29, f**3, (116 * f - 16) * 27 / 24389)
    linear = ratio * WHITE @ np.linalg.inv(TO_XYZ).T
    assert linear.min() > -1e-6
    assert linear.max() < 1 + 1e-6
    linear = linear.clip(0, 1)
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def scene(frames, seed=0):
    """LAB [T, H, W, 3]: a soft background and a disc that goes to and fro in 20 frames, with noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    place = np.stack((55 + 12 * np.sin(x / 9) * np.cos(y / 7), 6 * np.sin(x / 11 + y / 13), 8 * np.cos(y / 9)), -1)
    pictures = place + np.random.default_rng(seed).normal(0, 0.5, (frames, *place.shape))
    for t, picture in enumerate(pictures):
        picture[disc_mask(t).numpy()] += np.array((70, 14, 12)) - place[disc_mask(t).numpy()]
    return pictures


def disc_mask(t):
    """Where the disc is; the same forwards and backwards from the middle of whole periods, so that it has no trend."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return (x - 40 - 22 * math.cos(2 * math.pi * (t + 0.5) / 20)) ** 2 + (y - 24) ** 2 < 11**2


def levels(lab):
    return torch.from_numpy((to_rgb(lab) * 255).round().astype(np.uint8))


def plan(*lengths, cuts=()):
    """Segments of so many new frames each."""
    starts = np.cumsum((0, *lengths)).tolist()
    return Plan(tuple(Part(start, stop, index in cuts)
                      for index, (start, stop) in enumerate(zip(starts, starts[1:], strict=False))), Fraction(16))


def result(frames, segments, somebody=None, judged=measure.PICTURE, reference=None):
    areas = measure.measure(TensorClip(frames), somebody)
    return Result(tuple(frames.shape[1:3]), segments.rate, segments, areas, judged, reference)


def told(found):
    return json.loads(report.as_json(found))


def test_colours_contrast_and_sharpness_of_a_frame():
    frame = levels(scene(1))
    series = measure.measure(TensorClip(frame))[measure.PICTURE]
    lab = to_lab(frame[0].numpy() / 255).reshape(-1, 3)
    assert np.allclose(series.mean[0], lab.mean(0), atol=0.01)
    assert np.allclose(series.spread[0], lab.std(0), atol=0.01)
    assert series.contrast[0] == series.spread[0, 0]
    assert series.chroma[0] == pytest.approx(np.hypot(lab[:, 1], lab[:, 2]).mean(), abs=0.01)
    luma = frame[0].numpy() @ np.array((0.2126, 0.7152, 0.0722))
    steps = [math.hypot(luma[y + 1, x] - luma[y, x], luma[y, x + 1] - luma[y, x])
             for y in range(HEIGHT - 1) for x in range(WIDTH - 1)]
    assert series.sharpness[0] == pytest.approx(np.mean(steps), rel=1e-4)
    assert np.isnan(series.jump[0])


def test_jump_is_the_mean_difference_of_pixels():
    frames = levels(scene(3))
    found = measure.measure(TensorClip(frames))[measure.PICTURE].jump
    lab = to_lab(frames.numpy() / 255)
    assert np.allclose(found[1:], np.linalg.norm(np.diff(lab, axis=0), axis=-1).mean((1, 2)), rtol=1e-3)


def test_large_frames_are_measured_small_but_for_sharpness():
    fine = torch.zeros(1, 40, 2048, 3, dtype=torch.uint8)
    fine[:, :, ::2] = 200
    series = measure.measure(TensorClip(fine))[measure.PICTURE]
    assert series.sharpness[0] == pytest.approx(200, abs=1)
    assert series.contrast[0] < 5


def test_distance_is_one_for_a_cast_and_for_a_spread_of_one():
    zero, one = np.zeros(3), np.array((0.0, 0.6, 0.8))
    assert measure.distance(one, zero, zero, zero) == pytest.approx(1)
    assert measure.distance(zero, one, zero, zero) == pytest.approx(1)
    assert measure.distance(zero, one, zero, one) == 0


def test_frames_are_read_a_few_at_a_time():
    class Watched(TensorClip):
        def read(self, start, stop):
            read.append((start, stop))
            return super().read(start, stop)

    read, counted = [], []
    measure.measure(Watched(levels(scene(40))), progress=counted.append)
    assert counted == list(range(1, 41))
    assert [start for start, _ in read] == [0, *(stop for _, stop in read[:-1])]  # each once, and in order
    assert max(stop - start for start, stop in read) < 20


def test_a_planted_drift_of_segments_is_told_within_5_percent():
    """Every segment is lighter, warmer and of more contrast by the same amount, in LAB."""
    lightness, a, b, gain = 0.8, 0.5, -0.6, 0.02
    segments = plan(40, 20, 20, 20)
    lab = scene(100)
    for index, part in enumerate(segments.parts):
        own = lab[part.start : part.stop]
        middle = own[..., 0].mean((1, 2), keepdims=True)
        own[..., 0] = (own[..., 0] - middle) * (1 + gain * index) + middle + lightness * index
        own[..., 1:] += np.array((a, b)) * index
    changes = told(result(levels(lab), segments))["drift"][0]["changes"]
    found = {name: change["per_segment"] for name, change in changes.items()}
    assert found["L"] == pytest.approx(lightness, rel=0.05)
    assert found["a"] == pytest.approx(a, rel=0.05)
    assert found["b"] == pytest.approx(b, rel=0.05)
    assert found["contrast"] / changes["contrast"]["first"] == pytest.approx(gain, rel=0.05)
    last = 3  # segments after the first
    assert changes["L"]["last"] - changes["L"]["first"] == pytest.approx(last * lightness, rel=0.05)
    text = report.report(result(levels(lab), segments))
    line = next(line for line in text.splitlines() if line.startswith("- contrast: "))
    assert float(line.split()[2]) == pytest.approx(100 * gain, rel=0.05)


def test_a_planted_ramp_of_levels_is_told_within_5_percent():
    """Every frame is redder and of more contrast in RGB; what that is in LAB is calculated from the frames."""
    clean = levels(scene(60)).numpy().astype(float)
    time = np.arange(60)[:, None, None, None]
    ramped = (clean - 110) * (1 + 0.002 * time) + 110 + time * np.array((0.25, 0.05, -0.1))
    ramped = ramped.round().clip(0, 255).astype(np.uint8)
    found = told(result(torch.from_numpy(ramped), plan(20, 20, 20)))["drift"][0]["changes"]
    before, after = (to_lab(frames / 255).reshape(60, -1, 3) for frames in (clean, ramped))
    expected = {name: 100 * np.polyfit(time.ravel(), values, 1)[0] for name, values in {
        **dict(zip("Lab", (after - before).mean(1).T, strict=True)),
        "contrast": after[..., 0].std(1) - before[..., 0].std(1),
        "chroma": (np.hypot(after[..., 1], after[..., 2]) - np.hypot(before[..., 1], before[..., 2])).mean(1)}.items()}
    for name, slope in expected.items():
        assert found[name]["per_100_frames"] == pytest.approx(slope, rel=0.05, abs=0.02), name


@pytest.mark.parametrize(("size", "verdict"), [(0, GOOD), (0.6, GOOD), (1.3, VISIBLE), (2.0, VISIBLE), (2.8, STRONG)])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_step_is_judged_by_its_delta_e(size, verdict, channel):
    lab = scene(40)
    lab[20:, ..., channel] += size
    found = result(levels(lab), plan(20, 20))
    seam, = found.seams
    assert seam.verdict == verdict
    assert seam.step == pytest.approx(math.hypot(size, seam.usual_step), abs=0.15)
    assert seam.shift[channel] == pytest.approx(size, abs=0.15)
    assert found.ok is told(found)["ok"] is (verdict == GOOD)


def test_a_step_of_contrast_is_seen_though_the_mean_stays():
    lab = scene(40)
    lab[20:, ..., 0] = (lab[20:, ..., 0] - 58) * 1.2 + 58
    seam, = result(levels(lab), plan(20, 20)).seams
    assert seam.verdict in (VISIBLE, STRONG)
    assert seam.darks < -0.8 < 0.8 < seam.lights
    assert abs(seam.shift[0]) < 0.7


def test_nowhere_in_a_clip_without_seams_is_one_seen():
    areas = measure.measure(TensorClip(levels(scene(48))), disc_mask)
    for place in range(1, 48):
        for area in areas:
            found = Result((HEIGHT, WIDTH), None, plan(place, 48 - place), areas, area)
            assert found.seams[0].verdict == GOOD, (place, area)


def test_an_even_trend_is_no_step():
    lab = scene(40)
    lab[..., 0] += 0.4 * np.arange(40)[:, None, None]
    seam, = result(levels(lab), plan(20, 20)).seams
    assert seam.step < seam.usual_step + 0.2
    assert seam.fade < seam.usual_fade + 0.2
    assert seam.verdict == GOOD


def test_a_step_smeared_over_a_latent_frame_is_seen():
    lab = scene(40)
    lab[20:, ..., 0] += 2.5 * np.array((0.25, 0.5, 0.75, *[1] * 17))[:, None, None]
    seam, = result(levels(lab), plan(20, 20)).seams
    assert seam.verdict == VISIBLE
    assert seam.fade == pytest.approx(2.5, abs=0.4)
    assert seam.step < 1


def test_a_jump_of_the_content_is_seen_though_colours_stay():
    lab = scene(40)
    lab[20:] = lab[20:, ::-1, ::-1]
    seam, = result(levels(lab), plan(20, 20)).seams
    assert seam.verdict == STRONG
    assert seam.jump > 2.5 * seam.usual_jump


@pytest.mark.parametrize(("jump", "verdict"), [(13, GOOD), (16, VISIBLE), (24, VISIBLE), (26, STRONG)])
def test_what_moves_fast_hides_a_jump(jump, verdict):
    """Usual is 10: one and a half times that is a seam, though 13 is 3 Delta E more."""
    jumps = np.full(40, 10.0)
    jumps[20] = jump
    flat = np.ones((40, 3))
    series = measure.Series(flat, flat, jumps, jumps, jumps, np.zeros((40, 8, 3)))
    seam, = Result((HEIGHT, WIDTH), None, plan(20, 20), {measure.PICTURE: series}, measure.PICTURE).seams
    assert seam.verdict == verdict


def test_people_and_background_are_measured_apart():
    """Only the disc changes: nobody sees it in the background, and it is the people's own step."""
    lab = scene(40)
    for t in range(20, 40):
        lab[t][disc_mask(t).numpy(), 1] += 3
    frames = levels(lab)
    verdicts = {area: result(frames, plan(20, 20), disc_mask, area).seams[0]
                for area in (measure.PEOPLE, measure.BACKGROUND)}
    assert verdicts[measure.BACKGROUND].verdict == GOOD
    assert verdicts[measure.BACKGROUND].step < 0.3
    assert verdicts[measure.PEOPLE].verdict == STRONG
    assert verdicts[measure.PEOPLE].shift[1] == pytest.approx(3, abs=0.3)
    series = measure.measure(TensorClip(frames), disc_mask)[measure.PEOPLE]
    own = to_lab(frames[7].numpy() / 255)[disc_mask(7).numpy()]
    assert np.allclose(series.mean[7], own.mean(0), atol=0.02)


def test_without_people_there_is_nothing_to_judge():
    nobody = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    found = result(levels(scene(40)), plan(20, 20), lambda t: nobody if t > 15 else disc_mask(t), measure.PEOPLE)
    assert found.seams[0].verdict == UNSEEN
    assert found.ok
    assert told(found)["per_frame"]["people_L"][16:] == [None] * 24
    assert "not judged, the people cover less than 0.2%" in report.report(found)


def test_masks_are_cropped_as_pictures_are():
    mask = torch.zeros(90, 200, dtype=torch.bool)
    mask[20:70, 80:150] = True
    expected = cover_crop(mask.float().expand(1, 3, -1, -1), 64, 64)[0, 0] > 0.5
    assert (measure.cover_mask(mask, 64, 64) != expected).float().mean() < 0.02


def test_distance_to_the_reference_and_to_the_first_segment():
    lab = scene(30)
    lab[20:, ..., 2] += 4
    frames = levels(lab)
    reference = levels(scene(1) + np.array((0, 0, 4)))[0]
    found = result(frames, plan(10, 10, 10), reference=measure.measure_picture(reference)[measure.PICTURE])
    assert found.from_first[20:] == pytest.approx(4, abs=0.5)
    assert found.from_first[:10].max() < 1
    assert found.from_reference[:20] == pytest.approx(4, abs=0.5)
    assert found.from_reference[20:].max() < 1.5


def test_a_cut_is_no_seam_and_begins_a_first_segment():
    lab = np.concatenate((scene(20), scene(40) + np.array((10, 0, 0))))
    lab[40:, ..., 0] += 2
    found = result(levels(lab), plan(10, 10, 20, 20, cuts=(2,)))
    assert [(seam.frame, seam.verdict) for seam in found.seams] == [(10, GOOD), (40, VISIBLE)]
    assert found.from_first.max() < 3
    first, second = found.drifts
    assert (first.frames, second.frames) == ((0, 20), (20, 60))
    assert second.changes["L"].per_segment == pytest.approx(2, abs=0.1)
    assert "Scene 2, frames 20 to 59" in report.report(found)


def test_unknown_segments_compare_with_the_first_81_frames():
    lab = scene(100)
    lab[81:, ..., 0] += 2
    found = result(levels(lab), whole(100))
    assert found.seams == []
    assert found.ok
    change = found.drifts[0].changes["L"]
    assert change.last - change.first == pytest.approx(2, abs=0.15)
    text = report.report(found)
    assert "no segments are connected" in text
    assert "the first 81 frames (taken as the first segment)" in text


@pytest.mark.parametrize("lengths", [(1,), (1, 1), (2, 1, 1), (5, 1), (1, 9)])
def test_tiny_segments_do_no_harm(lengths):
    found = result(levels(scene(sum(lengths))), plan(*lengths))
    assert len(found.seams) == len(lengths) - 1
    report.report(found)
    assert "NaN" not in report.as_json(found)


def test_one_colour_does_no_harm():
    found = result(torch.full((12, 16, 16, 3), 90, dtype=torch.uint8), plan(6, 6))
    assert found.seams[0].verdict == GOOD
    assert "contrast" in report.report(found)


def test_csv_and_json_hold_the_same_numbers():
    found = result(levels(scene(12)), plan(6, 6), disc_mask, measure.PEOPLE)
    head, *lines = report.as_csv(found).splitlines()
    rows = [line.split(",") for line in lines]
    columns = told(found)["per_frame"]
    assert head.split(",") == list(columns)
    for place, (name, values) in enumerate(columns.items()):
        assert [row[place] for row in rows] == ["" if value is None else str(value) for value in values], name
    assert columns["segment"] == [1] * 6 + [2] * 6
    assert columns["seconds"][8] == 0.5
    assert columns["people_contrast"][3] == pytest.approx(found.areas[measure.PEOPLE].contrast[3], abs=1e-4)


def test_the_report_states_verdicts_and_limits():
    lab = scene(40)
    lab[20:, ..., 0] += 1.6
    text = report.report(result(levels(lab), plan(20, 20)))
    assert "Seams: 1 visible" in text
    assert "- frame 20 (1.2 s), segment 2: visible, colour step 1.6" in text
    assert all(str(limit) in text.split("Limits: ")[1] for limit in LIMITS.values())


SEGMENTS = [{"start": 0, "stop": 81, "overlap": 0, "cut": False},
            {"start": 76, "stop": 120, "overlap": 5},
            {"start": 120, "stop": 150, "overlap": 0, "cut": True}]


def plan_text(**changes):
    return json.dumps({"frames": 150, "fps": "30000/1001", "segments": SEGMENTS} | changes)


def test_segments_are_read_from_json():
    found = parse(plan_text(), 150)
    assert found.parts == (Part(0, 81), Part(81, 120), Part(120, 150, cut=True))
    assert found.rate == Fraction(30000, 1001)
    assert list(found.seams) == [1]
    assert found.scenes == [[0, 1], [2]]


@pytest.mark.parametrize(("text", "message"), [
    ("[1, 2", r"not valid JSON \(line 1, column 6"),
    ("[]", "must have \"frames\", and"),
    (plan_text(frames="many"), "numbers start, stop and overlap"),
    (plan_text(fps="a/b"), "Invalid literal"),
    (plan_text(segments=[{"start": 0}]), "'stop'"),
    (plan_text(frames=151), "belong to a video of 151 frames, but the video has 150"),
    (plan_text(segments=SEGMENTS[:2]), "end after 120 frames, but the video has 150"),
    (plan_text(segments=[]), "end after 0 frames"),
    (plan_text(segments=SEGMENTS[1:]), "Segment 1 adds the frames 81 to 119, but the next frame is 0"),
    (plan_text(segments=[SEGMENTS[0], SEGMENTS[2]]), "Segment 2 adds the frames 120 to 149, but the next frame is 81"),
])
def test_wrong_segments_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text, 150)


def test_real_pictures_have_the_colours_that_pillow_sees():
    """Pillow's own LAB (littleCMS, D50, 8 bits) orders greys as ours: a check that L is L."""
    greys = np.array((20, 90, 160, 230), np.uint8)
    frames = torch.from_numpy(greys).view(4, 1, 1, 1).expand(4, 8, 8, 3)
    ours = measure.measure(TensorClip(frames))[measure.PICTURE].mean
    theirs = [lab_by_pillow(grey) for grey in greys.tolist()]
    assert np.allclose(ours[:, 0], theirs, atol=0.6)
    assert np.abs(ours[:, 1:]).max() < 0.01


def lab_by_pillow(grey):
    picture = Image.new("RGB", (1, 1), (grey,) * 3)
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(picture, transform).getpixel((0, 0))[0] * 100 / 255
