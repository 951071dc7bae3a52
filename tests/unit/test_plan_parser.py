"""Texts about segments: what each one means, and what is said of those that mean nothing."""

import json
from fractions import Fraction

import pytest

from scail_model.segments import plan_scenes, plan_segments
from scail_model.video.plan_parser import NOTHING, Change, Changes, parse_cuts, parse_plan, with_remakes

RATE = Fraction(25)
# the new frames are 0..80, 81..156, 157..232, 233..308, 309..384 and 385..399
SEGMENTS = plan_segments(400, 81, 5)


def plan(*entries, segments=SEGMENTS, rate=RATE):
    return parse_plan(json.dumps(entries), segments, rate)


def chosen(**place):
    """Numbers, from 1, of the segments that a place means."""
    return [number for number, changes in enumerate(plan({**place, "seed": 7}), 1) if changes.lasting.seed == 7]


# Scene cuts

@pytest.mark.parametrize(("text", "rate", "cuts"), [
    ("", RATE, []), (" \n", RATE, []), ("120", RATE, [120]), ("120, 300", RATE, [120, 300]),
    ("120 300\n400,", RATE, [120, 300, 400]), ("15s", RATE, [375]), ("15.5s", RATE, [388]), ("65.2s", RATE, [1630]),
    ("0:12.5", RATE, [312]), ("1:05.2", RATE, [1630]), ("1:05.2s", RATE, [1630]), ("1:02:03.5", RATE, [93088]),
    ("0:01", Fraction(30000, 1001), [30]), ("1:00:00", Fraction(30000, 1001), [107892]), ("2s", Fraction(25, 2), [25]),
    ("300, 120", RATE, [300, 120]),  # as written: the plan of scenes refuses what does not rise
])
def test_cuts_are_frames_or_times(text, rate, cuts):
    assert parse_cuts(text, rate) == cuts


@pytest.mark.parametrize(("text", "named"), [
    ("12.5", "12.5"), ("-3", "-3"), ("find them", "find"), ("120; 130", "120;"), ("10-20", "10-20"),
    ("1:2:3:4", "1:2:3:4"), (":30", ":30"), ("0:12,5s, 1m", "1m"), ("1e3", "1e3"), ("s", "s"), ("5 s", "s"),
    ("²", "²")])
def test_other_cuts_are_refused(text, named):
    with pytest.raises(ValueError, match=rf'^"{named}" in scene_cuts is neither a frame nor a time: write 120, 1:05.2 '
                                         r"or 65.2s\.$"):
        parse_cuts(text, RATE)


# Places

def test_no_plan_changes_nothing():
    for text in ("", "  \n", "[]"):
        assert parse_plan(text, SEGMENTS, RATE) == [Changes()] * 6


@pytest.mark.parametrize(("place", "numbers"), [
    ("3", [3]), (3, [3]), ("2-4", [2, 3, 4]), ("2 - 4", [2, 3, 4]), ("1, 5-6", [1, 5, 6]), ("1,5 6", [1, 5, 6]),
    ("5, 1, 5", [1, 5]), ("1-6", [1, 2, 3, 4, 5, 6]), (" 2 ,", [2])])
def test_segments_by_number(place, numbers):
    assert chosen(segments=place) == numbers


@pytest.mark.parametrize(("place", "numbers"), [
    ("0-399", [1, 2, 3, 4, 5, 6]), ("81-156", [2]), ("119-156", []), ("118-156", [2]), ("81-118", []), ("81-119", [2]),
    ("40-232", [1, 2, 3]), ("41-232", [2, 3]), ("300-9999", [5, 6]), ("3s-6s", [2]),
    (80, [1]), ("81", [2]), ("156", [2]), ("399-399", [6])])
def test_frames_mean_segments_with_more_than_half_of_their_new_frames_in_them(place, numbers):
    if numbers:
        assert chosen(frames=place) == numbers
    else:
        with pytest.raises(ValueError, match=f"No segment has more than half of its new frames in {place} of entry 1"):
            chosen(frames=place)


@pytest.mark.parametrize(("place", "numbers"), [
    ("0:03-0:06", [2]), ("3-6", [2]), ("3.24s-6.24s", [2]), ("0:03.24 - 6.24", [2]), ("0-60", [1, 2, 3, 4, 5, 6]),
    ("0:00:12-0:00:15.4", [5]), (10, [4]), (9.32, [4]), (9.2, [3]), ("0:10", [4]), ("0", [1])])
def test_times_mean_the_same_and_a_number_alone_is_seconds(place, numbers):
    assert chosen(time=place) == numbers


def test_times_count_at_the_rate_of_the_video():
    changed = plan({"time": "5-7.8", "seed": 7}, rate=Fraction(30000, 1001))  # frames 150 to 234
    assert [changes.lasting.seed for changes in changed] == [None, None, 7, None, None, None]


def test_no_place_is_everywhere():
    assert plan({"seed": 7}) == [Changes(Change(seed=7))] * 6
    assert parse_plan('{"seed": 7}', SEGMENTS, RATE) == [Changes(Change(seed=7))] * 6  # one entry needs no list


def test_scenes_have_segments_of_their_own():
    scenes = plan_scenes(100, (60,), 81, 5)
    assert plan({"frames": "60-99", "seed": 7}, segments=scenes) == [Changes(), Changes(Change(seed=7))]


# Changes

def test_every_change_arrives():
    change = {"negative_prompt": "b", "seed": 2**64 - 1, "reference": 2, "guidance": 1, "driving_strength": 0.5,
              "history_strength": 0}
    for prompt in ({"prompt": ""}, {"saved_prompt": "a"}):
        assert plan(change | prompt)[0].lasting == Change(**change, **prompt)


def test_later_entries_win():
    found = plan({"segments": "1-3", "prompt": "a", "seed": 1}, {"segments": "2", "prompt": "b"},
                 {"segments": "3-4", "seed": 3})
    assert found == [Changes(change) for change in (
        Change(prompt="a", seed=1), Change(prompt="b", seed=1), Change(prompt="a", seed=3), Change(seed=3),
        NOTHING, NOTHING)]


def test_a_later_saved_prompt_takes_the_place_of_a_prompt_and_the_other_way_round():
    found = plan({"prompt": "a"}, {"segments": "2-3", "saved_prompt": "b"}, {"segments": 3, "prompt": "c"},
                 {"segments": 4, "saved_prompt": "d", "only": True})
    assert [changes.lasting for changes in found[:4]] == [
        Change(prompt="a"), Change(saved_prompt="b"), Change(prompt="c"), Change(prompt="a")]
    assert found[3].only.over(found[3].lasting) == Change(saved_prompt="d", only=True)


def test_only_leaves_what_lasts():
    found = plan({"segments": "2", "prompt": "a", "seed": 1}, {"segments": "2", "seed": 2, "only": True},
                 {"segments": "2", "guidance": 3.0, "only": True}, {"segments": "2-3", "prompt": "b", "only": False})
    assert found[1] == Changes(Change(prompt="b", seed=1), Change(seed=2, guidance=3.0, only=True))
    assert found[2] == Changes(Change(prompt="b"))


def test_a_change_over_another_one():
    below = Change(prompt="a", seed=1, guidance=2.0)
    assert Change(seed=0, only=True).over(below) == Change(prompt="a", seed=0, guidance=2.0, only=True)
    assert NOTHING.over(below) == below


# Remakes

def test_remade_segments_get_seeds_that_count_up():
    changes = plan({"segments": "1-4", "seed": 5, "prompt": "a"})
    assert with_remakes(changes, " ", 100, only=False) == changes
    found = with_remakes(changes, "5-6, 2", 100, only=False)
    assert [change.lasting.seed for change in found] == [5, 100, 5, 5, 101, 102]
    assert found[1] == Changes(Change(seed=100, prompt="a"))


def test_remade_alone():
    changes = plan({"segments": "2", "seed": 5}, {"segments": "2", "guidance": 2.0, "only": True})
    found = with_remakes(changes, "2", 100, only=True)
    assert found[1] == Changes(Change(seed=5), Change(seed=100, guidance=2.0, only=True))
    assert changes[1].only.seed is None  # the given ones stay


# What is refused

@pytest.mark.parametrize(("text", "message"), [
    ("hello", r"The plan is not valid JSON \(Expecting value: line 1 column 1 \(char 0\)\): write a list such as "
              r'\[{"segments": "2-3", "prompt": "..."}\]\.'),
    ("[{'seed': 7}]", r"The plan is not valid JSON \(.*\): write a list such as .*"),
    ('[{"seed": 7},]', r"The plan is not valid JSON \(.*\): write a list such as .*"),
    ("7", 'The plan is not a list of entries: write a list such as .*"seed": 7.*'),
    ('["3-5"]', "The plan is not a list of entries: .*"),
    ("null", "The plan is not a list of entries: .*"),
])
def test_what_is_no_plan(text, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse_plan(text, SEGMENTS, RATE)


@pytest.mark.parametrize(("entry", "message"), [
    ({}, "Nothing changes in E: add one of prompt, .*, or remove the entry"),
    ({"segments": "2"}, "Nothing changes in E: .*"),
    ({"segments": "2", "only": True}, "Nothing changes in E: .*"),
    ({"segment": "2", "seed": 7}, '"segment" in E is not a known key: use segments, time, '
                                  "frames, prompt, .*"),
    ({"steps": 7}, '"steps" in E is not a known key: use .*'),
    ({"segments": 1, "time": "3", "seed": 7}, "segments and time are in E: keep one of them"),
    ({"prompt": "a", "saved_prompt": "b"}, "Both prompt and saved_prompt are in E: keep one of them"),
    ({"seed": True}, '"seed" in E is true, but it must be a whole number, at least 0 and at most 64 bits long: '
                     "correct it"),
    ({"seed": -1}, '"seed" in E is -1, but it must be a whole number, at least 0 .*'),
    ({"seed": 2**64}, '"seed" in E is 18446744073709551616, but it must be .* at most 64 bits long: correct it'),
    ({"seed": 7.0}, '"seed" in E is 7.0, but it must be a whole number.*'),
    ({"seed": "7"}, '"seed" in E is "7", but it must be a whole number.*'),
    ({"reference": 0}, '"reference" in E is 0, but it must be a whole number, at least 1 .*'),
    ({"prompt": 7}, '"prompt" in E is 7, but it must be a text: correct it'),
    ({"prompt": None}, '"prompt" in E is null, but it must be a text: correct it'),
    ({"guidance": 0.5}, '"guidance" in E is 0.5, but it must be a number from 1.0 to 30.0: correct it'),
    ({"guidance": True}, '"guidance" in E is true, but it must be a number from 1.0 to 30.0: correct it'),
    ({"guidance": float("nan")}, '"guidance" in E is NaN, but it must be a number from .*'),
    ({"history_strength": 1.01}, '"history_strength" in E is 1.01, but it must be a number from 0.0 to 1.0: correct'),
    ({"driving_strength": [1]}, r'"driving_strength" in E is \[1\], but it must be a number from 0.0 to 10.0: correct'),
    ({"seed": 7, "only": 1}, '"only" in E is 1, but it must be true or false: correct it'),
    ({"segments": "7", "seed": 7}, "Entry 2 of the plan names the segments 7, but there are 1 to 6: correct the "
                                   "numbers"),
    ({"segments": "0", "seed": 7}, "Entry 2 of the plan names the segments 0, but there are 1 to 6: .*"),
    ({"segments": "5-9", "seed": 7}, "Entry 2 of the plan names the segments 5-9, but there are 1 to 6: .*"),
    ({"segments": "4-2", "seed": 7}, '"4-2" in E runs backwards: write the smaller end first'),
    ({"segments": "1-2-3", "seed": 7}, '"1-2-3" in E is not a range: write one such as 3-5'),
    ({"segments": "-2", "seed": 7}, '"" in E is not a segment number: write numbers such as 3, 5-6'),
    ({"segments": "all", "seed": 7}, '"all" in E is not a segment number: .*'),
    ({"segments": "", "seed": 7}, '"" in E is not a segment number: .*'),
    ({"segments": 1.5, "seed": 7}, '"1.5" in E is not a segment number: .*'),
    ({"segments": True, "seed": 7}, '"segments" in E is true, but it must be a number, or a text such as "3-5": '
                                    "correct it"),
    ({"segments": [1, 2], "seed": 7}, r'"segments" in E is \[1, 2\], but it must be a number, or a text .*'),
    ({"time": None, "seed": 7}, '"time" in E is null, but it must be a number, or a text .*'),
    ({"time": "0:06-0:03", "seed": 7}, '"0:06-0:03" in E runs backwards: .*'),
    ({"time": "soon", "seed": 7}, '"soon" in E is neither a frame nor a time: write 120, 1:05.2 or 65.2s'),
    ({"time": "5:00", "seed": 7}, "No segment has more than half of its new frames in 5:00 of E: name its number, or a "
                                  "longer range of the video's 400 frames"),
    ({"frames": 12.5, "seed": 7}, '"12.5" in E is neither a frame nor a time: .*'),
    ({"frames": "", "seed": 7}, '"" in E is neither a frame nor a time: .*'),
])
def test_wrong_entries_are_named_with_the_remedy(entry, message):
    message = message.replace(" E", " entry 2 of the plan")
    with pytest.raises(ValueError, match=f"^{message}") as error:
        plan({"seed": 1}, entry)
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text


@pytest.mark.parametrize(("text", "message"), [
    ("7", "Remake names the segments 7, but there are 1 to 6: correct the numbers"),
    ("0-2", "Remake names the segments 0-2, but there are 1 to 6"),
    ("3-1", '"3-1" in remake runs backwards: write the smaller end first'),
    ("two", '"two" in remake is not a segment number: write numbers such as 3, 5-6'),
    (",", '"," in remake is not a segment number'),
])
def test_wrong_remakes(text, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        with_remakes([Changes()] * 6, text, 1, only=False)


def test_a_later_change_is_seen_in_a_segment_that_was_changed_alone():
    """Another seed for all that follows takes the place of a seed for this segment alone, and leaves the rest of it."""
    segments = plan_segments(400)
    alone = '{"segments": 2, "seed": 7, "only": true}'
    (_, changes, *_) = with_remakes(parse_plan(f"[{alone}]", segments, Fraction(16)), "2", 9, only=False)
    assert changes == Changes(Change(seed=9))
    both = '{"segments": 2, "seed": 7, "guidance": 3, "only": true}'
    (_, changes, *_) = parse_plan(f'[{both}, {{"segments": 2, "seed": 8}}]', segments, Fraction(16))
    assert changes == Changes(Change(seed=8), Change(guidance=3, only=True))
