"""What a page is told of a run: everything once, then changes, seldom enough."""

import json

import pytest

from scail_model.segments import plan_segments
from scail_model.video.progress import CANCELLED, DONE, FAILED, JOINING, KEPT, Run, Runs

ABOUT = {"prompt_id": "p", "node": "213:114", "workflow": None}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sent():
    return []


@pytest.fixture
def run(sent, clock):
    return Run(ABOUT, plan_segments(17, 9, 5), 40, sent.append, clock)


def page(messages):
    """What a page that hears every message knows of the segments."""
    known = [{} for _ in range(messages[0]["count"])]
    for message in messages:
        for segment in message["segments"]:
            known[segment["index"]].update(segment)
    return known


def test_the_first_message_is_everything(run, sent):
    (first,) = sent
    assert first == run.whole()
    assert {name: first[name] for name in ABOUT} == ABOUT
    assert (first["version"], first["state"], first["left"], first["count"]) == (1, "running", None, 3)
    assert [(segment["start"], segment["stop"], segment["overlap"], segment["state"]) for segment in first["segments"]
            ] == [(0, 9, 0, "waiting"), (4, 13, 5, "waiting"), (8, 17, 5, "waiting")]


def test_changes_add_up_to_the_whole(run, sent, clock):
    for index, state in enumerate(("encoding", "sampling")):
        run.change(0, state=state)
        clock.now += 1.5
        run.change(0, step=index + 1, left=7.26)
    run.change(0, state="writing")
    run.change(1, state="encoding")
    clock.now += 20
    run.change(0, state=DONE, thumbnail="data:", part={"filename": "0001.mp4"})
    run.change(1, state=KEPT)
    run.change(1, seam="good")
    assert page(sent) == run.whole()["segments"]
    assert [message["version"] for message in sent] == list(range(1, len(sent) + 1))
    assert sent[-1]["segments"] == [{"index": 1, "seam": "good"}]
    first, second, _ = run.whole()["segments"]
    assert (first["seconds"], first["step"], run.whole()["left"]) == (3.0, 2, 7.3)  # writing is beside the next one
    assert second["seconds"] == 20.0
    assert json.loads(json.dumps(run.whole())) == run.whole()


def test_steps_are_told_four_times_a_second_and_states_always(run, sent, clock):
    run.change(0, state="sampling")
    for step in range(40):
        clock.now += 0.05
        run.change(0, step=step + 1)
    assert 5 <= len(sent) - 2 <= 8
    run.change(0, state="decoding")
    run.change(0, state="writing")
    assert [message["segments"][0].get("state") for message in sent[-2:]] == ["decoding", "writing"]
    assert page(sent)[0]["step"] == 40  # nothing is lost by waiting


def test_a_sign_of_life_says_that_nothing_has_changed(run, sent):
    run.change(0, state="sampling", left=30)
    before = run.whole()
    run.again()
    assert sent[-1] == before | {"version": before["version"] + 1, "segments": []}


@pytest.mark.parametrize(("state", "left"), [(JOINING, 0.0), (DONE, 0.0), (CANCELLED, None), (FAILED, None)])
def test_ends(run, sent, state, left):
    run.change(0, state="sampling", left=30)
    run.become(state)
    assert (sent[-1]["state"], sent[-1]["left"], sent[-1]["segments"]) == (state, left, [])
    assert run.whole()["state"] == state


def test_the_last_few_runs_are_kept(clock):
    runs = Runs()
    for number in range(10):
        about = ABOUT | {"prompt_id": str(number)}
        runs.add((about["prompt_id"], about["node"]), Run(about, plan_segments(9), 2, lambda message: None, clock))
    assert [run["prompt_id"] for run in runs.whole()] == list("23456789")
