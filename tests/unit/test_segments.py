"""Segment plans: the lists of golden case H, the rules checked by brute force, scenes, error texts."""

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from scail_model.segments import EVEN, FULL_LAST, LENGTHS, SHORT_LAST, Segment, plan_scenes, plan_segments

GOLDEN = Path(__file__).parents[1] / "golden"


def golden_plans(kind):
    files = {name: json.loads((GOLDEN / f"{name}.json").read_text()) for name in ("H1_segments", "H2_segments_more")}
    return [
        pytest.param(*map(int, setting.split("/")), plans, id=f"{name}-{setting}")
        for name, lists in files.items()
        for setting, plans in lists[kind].items()
        if setting != "80/4"  # the official code also takes lengths that the VAE cannot fill
    ]


@pytest.mark.parametrize(("segment_length", "overlap", "plans"), golden_plans("lossless_scail2_exp"))
def test_plans_are_the_lossless_ones(segment_length, overlap, plans):
    assert len(plans) > 50
    for total, expected in plans.items():
        segments = plan_segments(int(total), segment_length, overlap)
        assert [[s.start, s.stop, s.length, s.overlap] for s in segments] == expected, total


@pytest.mark.parametrize(("segment_length", "overlap", "plans"), golden_plans("official"))
def test_nothing_changes_where_the_official_rule_drops_nothing(segment_length, overlap, plans):
    kept = {total: plan for total, plan in plans.items() if plan[-1][1] == int(total)}
    assert kept
    for total, expected in kept.items():
        segments = plan_segments(int(total), segment_length, overlap)
        assert [[s.start, s.stop] for s in segments] == expected
        assert all(s.padding == 0 for s in segments)


@pytest.mark.parametrize("segment_length", [5, 9, 13, 17, 33, 49, 81])
def test_rules_hold_for_every_total(segment_length):
    for overlap in range(1, segment_length - 3, 4):
        for total in range(1, 3 * segment_length + 20):
            segments = plan_segments(total, segment_length, overlap)
            shown = []
            for s in segments:
                assert shown[s.start : s.start + s.overlap] == list(range(s.start, s.start + s.overlap))
                assert len(shown) == s.start + s.overlap
                shown += range(s.start + s.overlap, s.stop)
                assert s.new_frames == s.stop - s.start - s.overlap >= 1
                assert s.length % 4 == 1
                assert 0 <= s.padding == s.length - (s.stop - s.start) < 4
            assert shown == list(range(total))
            assert [s.overlap for s in segments] == [0] + [overlap] * (len(segments) - 1)
            assert all(s.stop - s.start == s.length == segment_length for s in segments[:-1])
            assert segments[-1].length <= segment_length


def test_defaults_are_the_trained_ones():
    assert plan_segments(100) == [Segment(0, 81, 81, 0), Segment(76, 100, 25, 5)]
    assert plan_segments(100)[1].padding == 1


def test_segments_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan_segments(5)[0].start = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "total_frames is 0, but there must be at least 1"),
        ((-3,), "total_frames is -3"),
        ((81.0,), "total_frames is 81.0, but it must be a whole number of frames"),
        (("81",), "total_frames is '81', but it must be a whole number"),
        ((100, 80), r"segment_length is 80, but it must be 4n\+1 and at least 5: take 77 or 81$"),
        ((100, 82), "segment_length is 82.*take 81 or 85$"),
        ((100, 1, 1), "segment_length is 1, .*take 5 or 9$"),
        ((100, 81.5), "segment_length is 81.5, but it must be a whole number"),
        ((100, 81, 0), "overlap is 0, but every segment needs at least 1 frame of history: take 1 to 77"),
        ((100, 81, -4), "overlap is -4, but every segment needs"),
        ((100, 81, 4), r"overlap is 4, but it must be 4n\+1 and at most 77 in segments of 81 frames: take 1 or 5$"),
        ((100, 81, 76), "overlap is 76, .*take 73 or 77$"),
        ((100, 81, 78), "overlap is 78, .*take 77$"),
        ((100, 81, 81), "overlap is 81, .*take 77$"),
        ((100, 9, 7), "overlap is 7, .*take 5$"),
        ((100, 81, None), "overlap is None, but it must be a whole number"),
    ],
)
def test_bad_numbers_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan_segments(*arguments)


# Lengths and scenes

PAIRS = [(5, 1), (9, 5), (13, 5), (33, 29), (49, 9), (81, 5), (81, 77)]


def check_cover(segments, total, starts):
    """Every frame is made once, history is the frames before and of the same scene, and only a scene's end is padded.
    starts: where scenes begin."""
    made = scene = 0
    for segment, after in itertools.zip_longest(segments, segments[1:]):
        begins_scene = made in starts
        scene = made if begins_scene else scene
        assert segment.start + segment.overlap == made
        assert (segment.overlap == 0) == begins_scene
        assert scene <= segment.start
        assert segment.new_frames >= 1
        made += segment.new_frames
        assert made == segment.stop
        assert segment.length % 4 == 1
        assert segment.padding >= 0
        if made in starts or made == total:
            assert after is None or after.overlap == 0
        else:
            assert segment.padding == 0
    assert made == total


@pytest.mark.parametrize(("segment_length", "overlap"), PAIRS)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_no_frame_is_lost_whatever_the_lengths(lengths, segment_length, overlap):
    for total in range(1, 401):
        segments = plan_segments(total, segment_length, overlap, lengths)
        check_cover(segments, total, {0})
        assert all(segment.length <= segment_length for segment in segments)
        assert len(segments) == len(plan_segments(total, segment_length, overlap))


@pytest.mark.parametrize(("segment_length", "overlap"), PAIRS)
def test_even_lengths_differ_by_one_group_at_most(segment_length, overlap):
    for total in range(1, 401):
        segments = plan_segments(total, segment_length, overlap, EVEN)
        lengths = [segment.length for segment in segments]
        assert max(lengths) - min(lengths) <= 4
        assert lengths == sorted(lengths, reverse=True)
        assert segments[-1].padding < 4


@pytest.mark.parametrize(("segment_length", "overlap"), PAIRS)
def test_a_full_last_segment_differs_in_its_length_alone(segment_length, overlap):
    for total in range(1, 401):
        short = plan_segments(total, segment_length, overlap)
        full = plan_segments(total, segment_length, overlap, FULL_LAST)
        assert full == [*short[:-1], dataclasses.replace(short[-1], length=segment_length)]


def test_lengths_of_an_example():
    assert [s.length for s in plan_segments(170, 81, 5)] == [81, 81, 21]
    assert [s.length for s in plan_segments(170, 81, 5, EVEN)] == [61, 61, 61]
    assert [s.length for s in plan_segments(170, 81, 5, FULL_LAST)] == [81, 81, 81]
    assert plan_segments(10, 81, 5, FULL_LAST) == [Segment(0, 10, 81, 0)]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("segment_length", "overlap"), PAIRS)
def test_history_stays_inside_a_scene(lengths, segment_length, overlap):
    for total in range(4, 401):
        cuts = ((1,), (total - 1,), (total // 2,), (1, 2, 3), tuple(range(7, total, 37)))[total % 5]
        segments = plan_scenes(total, cuts, segment_length, overlap, lengths)
        check_cover(segments, total, {0, *cuts})
        assert {segment.start for segment in segments if not segment.overlap} == {0, *cuts}


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_scene_is_planned_as_a_video_of_its_own(lengths):
    segments = plan_scenes(250, (100, 190), 49, 9, lengths)
    alone = [(0, part) for part in plan_segments(100, 49, 9, lengths)]
    alone += [(100, part) for part in plan_segments(90, 49, 9, lengths)]
    alone += [(190, part) for part in plan_segments(60, 49, 9, lengths)]
    assert segments == [Segment(first + part.start, first + part.stop, part.length, part.overlap)
                        for first, part in alone]
    assert plan_scenes(250, (), 49, 9, lengths) == plan_segments(250, 49, 9, lengths)


@pytest.mark.parametrize(("cuts", "named"), [
    ((0,), 0), ((-3,), -3), ((100,), 100), ((400,), 400), ((50, 50), 50), ((50, 20), 20), ((20, 50, 100), 100)])
def test_cuts_that_cannot_be_are_refused_by_value(cuts, named):
    message = f"scene cut at frame {named}, but cuts must be in ascending order and between 1 and 99: correct"
    with pytest.raises(ValueError, match=message):
        plan_scenes(100, cuts)


def test_scenes_refuse_what_segments_refuse():
    with pytest.raises(ValueError, match="segment_length is 80"):
        plan_scenes(100, (50,), 80, 5, SHORT_LAST)
