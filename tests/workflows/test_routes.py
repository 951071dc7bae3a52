"""What the server answers a page about a plan and about identities, against the functions of a run, and counted by
hand."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from scail_model import segments
from scail_model.config import TransformerConfig
from scail_model.geometry import check_size
from scail_model.kernels import chunks
from scail_model.preflight import budget
from scail_model.video.plan_parser import parse_cuts, parse_plan, with_remakes

GIB = 2**30
VALUES = {"segment_length": 81, "overlap": 5, "lengths": "short last", "scene_cuts": "", "fps": 16.0, "steps": 40,
          "guidance": 5.0, "plan": "", "remake": "", "remake_scope": "and everything after", "remake_seed": 1}
VIDEO = {"frames": 305, "fps": "16", "found_cuts": None, "width": 896, "height": 512, "additional": 0}
MACHINE = {"gpu_bytes": 140 * GIB, "weight_bytes": 30 * GIB, "pace": 1.0, "coder_pace": 2.0,
           "model": {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40}}
MOTION = {"start_frame": 76, "length": 81, "overlap": 5, "guidance": 5.0}


@pytest.fixture(scope="module")
def plan(server):
    """plan(parts of the question, **values) -> the answer."""
    def ask(node="SCAIL2SampleVideo", video=VIDEO, machine=MACHINE, size=None, continued=False, values=VALUES, **more):
        return server.post("/scail2/plan", {"node": node, "values": values | more, "size": size or {},
                                            "continued": continued, "video": video, "machine": machine})

    return ask


def texts(answer: dict) -> list[str]:
    return [problem["text"] for problem in answer["problems"]]


def refusal(function, *given) -> str:
    with pytest.raises(ValueError, match=".") as refused:
        function(*given)
    return str(refused.value)


def test_segments_are_those_of_a_run(plan):
    chance = random.Random(0)
    for _ in range(60):
        length = 4 * chance.randint(1, 30) + 1
        overlap = 4 * chance.randint(0, (length - 5) // 4) + 1
        total = chance.choice([1, length, length + 1, 2 * length - overlap, chance.randint(1, 1500)])
        cuts = sorted({chance.randint(1, total) for _ in range(chance.randint(0, 3))} - {total})
        lengths = chance.choice(segments.LENGTHS)
        answer = plan(video=VIDEO | {"frames": total}, segment_length=length, overlap=overlap, lengths=lengths,
                      scene_cuts=", ".join(map(str, cuts)))
        expected = segments.plan_scenes(total, cuts, length, overlap, lengths)
        assert [(piece["start"], piece["stop"], piece["length"], piece["overlap"]) for piece in answer["pieces"]] == [
            (segment.start, segment.stop, segment.length, segment.overlap) for segment in expected]
        # the bar shows every frame once, and what is filled up
        shown = [piece["shown"] for piece in answer["pieces"]]
        assert sum(shown) == total
        assert [piece["cut"] for piece in answer["pieces"]] == [
            index > 0 and not segment.overlap for index, segment in enumerate(expected)]


def test_scenes_that_several_gpus_make_at_the_same_time_are_told_with_their_places(plan):
    two = MACHINE | {"gpus": 2, "lanes": 2}
    answer = plan(machine=two, scene_cuts="81, 220")  # 81 frames, 139 in two segments, 85 in two
    assert [(piece["place"], piece["lane"]) for piece in answer["pieces"]] == [
        ("GPU 1", 0), ("GPU 2", 1), ("GPU 2", 1), ("GPU 1", 0), ("GPU 1", 0)]
    assert answer["pieces"][1]["label"].endswith(", a new scene, on GPU 2")
    assert "Scenes at the same time: segments 1, 4 to 5 on GPU 1; segments 2 to 3 on GPU 2." in answer["lines"]
    one = plan(video=VIDEO | {"frames": 81 + 85}, scene_cuts="81")  # what the longer lane makes, on one GPU
    assert answer["estimate"] == one["estimate"]
    assert answer["lines"][-1] == one["lines"][-1].replace("(this GPU has", "on each of 2 GPUs (with")
    together = two | {"lanes": 0}
    for alone in (plan(machine=two),  # one scene
                  *(plan(machine=machine, scene_cuts="81, 220") for machine in (MACHINE, together))):
        assert {(piece["place"], piece["lane"]) for piece in alone["pieces"]} == {("", None)}
        assert not any("same time" in line for line in alone["lines"])


@pytest.mark.parametrize("rate", ["16", "24000/1001", "30000/1001", "12.5"])
@pytest.mark.parametrize("text", ["120", "100, 0:09.5", "2s 7.25s,300", "0:04.0416667"])
def test_times_of_cuts_are_read_as_in_a_run(plan, rate, text):
    fps = Fraction(rate)
    from_file, written = plan(video=VIDEO | {"fps": str(fps)}, scene_cuts=text), None
    if "/" not in rate:
        written = plan(video=VIDEO | {"fps": None}, scene_cuts=text, fps=float(rate))
    for answer in filter(None, (from_file, written)):
        assert [piece["start"] for piece in answer["pieces"] if piece["cut"]] == parse_cuts(text, fps)


def test_people_are_made_at_another_size_than_the_file_has(plan):
    assert plan(plate="off")["lines"][0].startswith("896×512, 305 frames")
    assert plan(plate="lock")["lines"][0].startswith("896×512 put into the driving video, 305 frames")
    seen = VIDEO | {"filmed": [1920, 1080]}
    assert plan(video=seen, plate="composite")["lines"][0].startswith("896×512 put into 1920×1080, 305 frames")
    assert plan(video=seen, plate="lock", draft=True)["lines"][0].startswith("draft, 448×256 put into 1920×1080, ")


def test_another_rate_than_in_the_last_run(plan):
    """The video is 305 frames in 19.06 s; the last run read it at 8 a second, or every frame of it."""
    every = {"every": {"frames": 305, "fps": "16", "seconds": 305 / 16}}
    taken, picked = (VIDEO | every | {"rate": 0.0}), (VIDEO | every | {"rate": 8.0, "frames": 152, "fps": "8"})
    for video in (taken, picked):
        for rate, words in ((0.0, "305 frames at 16 fps (19.1 s)"), (8.0, "152 frames at 8 fps (19.0 s)"),
                            (20.0, "381 frames at 20 fps (19.1 s)")):
            assert words in plan(video=video, rate=rate)["lines"][0]
        assert "152 frames at 8 fps" in plan(node="SCAIL2MotionTransfer", video=video, values=MOTION, rate=8.0,
                                             continued=True)["lines"][0]
    images = VIDEO | {"fps": None, "rate": 0.0, "every": {"frames": 305, "fps": None, "seconds": None}}
    assert "102 frames at 8 fps" in plan(video=images, fps=24.0, rate=8.0)["lines"][0]
    # cuts are frames of the rate at which they were found
    found = plan(video=picked | {"found_cuts": [100]}, scene_cuts="find", rate=16.0)
    assert found["lines"][0].endswith("Scene cuts: known after the first run or check.")


def test_cuts_that_a_run_has_found(plan):
    found = plan(video=VIDEO | {"found_cuts": [100]}, scene_cuts="find")
    assert [piece["start"] for piece in found["pieces"] if piece["cut"]] == [100]
    before = plan(scene_cuts="find")
    assert before["lines"][0].endswith("last 77. Scene cuts: known after the first run or check.")


@pytest.mark.parametrize(("changed", "name", "function", "given", "choices"), [
    ({"segment_length": 80}, "segment_length", segments.check_length, (80,), [77, 81]),
    ({"segment_length": 2, "overlap": 1}, "segment_length", segments.check_length, (2,), [5, 9]),
    ({"overlap": 77, "segment_length": 41}, "overlap", segments.check_overlap, (77, 41), [37]),
    ({"overlap": 6}, "overlap", segments.check_overlap, (6, 81), [5, 9]),
    ({"overlap": 0}, "overlap", segments.check_overlap, (0, 81), [1, 5]),
    ({"overlap": 0, "segment_length": 5}, "overlap", segments.check_overlap, (0, 5), [1]),
])
def test_wrong_lengths_get_the_sentence_of_the_run_and_right_ones(plan, changed, name, function, given, choices):
    (problem,) = plan(**changed)["problems"]
    assert problem == {"text": refusal(function, *given), "input": name, "choices": choices, "at": None}
    for choice in choices:
        assert plan(**changed | {name: choice})["problems"] == []


def test_wrong_sizes(plan):
    for node, at in (("SCAIL2EncodeReference", None), ("SCAIL2SampleVideo", "reference")):
        answer = plan(node=node, size={"width": 500, "height": 20})
        assert answer["problems"] == [
            {"text": refusal(check_size, 500, 32), "input": "width", "choices": [480, 512], "at": at},
            {"text": refusal(check_size, 32, 20), "input": "height", "choices": [32, 64], "at": at}]
    assert plan(node="SCAIL2EncodeReference", size={"width": 512})["problems"] == []


@pytest.mark.parametrize("cuts", ["soon", "305", "200, 100", "0"])
def test_wrong_cuts(plan, cuts):
    expected = refusal(lambda: segments.plan_scenes(305, parse_cuts(cuts, Fraction(16)), 81, 5))
    assert texts(plan(scene_cuts=cuts)) == [expected]


WRITTEN = '[{"segments": "2-3", "seed": 7}, {"time": "0:15-0:19", "guidance": 3, "only": true}]'


def test_segments_that_plan_and_remake_name(plan):
    answer = plan(plan=WRITTEN, remake="1, 3")
    expected = parse_plan(WRITTEN, segments.plan_segments(305), Fraction(16))
    assert [piece["changed"] for piece in answer["pieces"]] == [changes != type(changes)() for changes in expected]
    assert [piece["changed"] for piece in answer["pieces"]] == [False, True, True, True]
    assert [piece["remade"] for piece in answer["pieces"]] == [True, False, True, False]
    assert answer["pieces"][2]["label"].endswith(", changed by plan, made again")


def test_wrong_plans_leave_the_segments_to_be_seen(plan):
    cut = segments.plan_segments(305)
    answer = plan(plan='[{"segments": 9, "seed": 1}]', remake="5")
    assert texts(answer) == [refusal(parse_plan, '[{"segments": 9, "seed": 1}]', cut, Fraction(16)),
                             refusal(with_remakes, [None] * 4, "5", 1, False)]
    assert [problem["input"] for problem in answer["problems"]] == ["plan", "remake"]
    assert len(answer["pieces"]) == 4


def test_one_segment(plan):
    answer = plan(node="SCAIL2MotionTransfer", values=MOTION, continued=True)
    before, own, after = answer["pieces"]
    assert (own["start"], own["stop"], own["length"], own["overlap"]) == (71, 152, 81, 5)
    assert [(rest["start"], rest["stop"]) for rest in (before, after)] == [(0, 71), (152, 305)]
    assert [piece["other"] for piece in answer["pieces"]] == [True, False, True]
    assert answer["lines"][0].endswith(": new frames 76 to 151, 5 taken over, 81 in all.")
    assert answer["lines"][1].endswith(" a forward pass.")
    last = plan(node="SCAIL2MotionTransfer", values=MOTION | {"start_frame": 300}, continued=True)
    assert [piece["length"] for piece in last["pieces"]] == [0, 13]
    for changed, sentence in (
            ({"start_frame": 305}, refusal(segments.segment_at, 305, 305, 81, 5)),
            ({"start_frame": 4}, refusal(segments.segment_at, 305, 4, 81, 5)),
            ({"length": 10}, refusal(segments.check_length, 10, "length"))):
        assert texts(plan(node="SCAIL2MotionTransfer", values=MOTION | changed, continued=True)) == [sentence]
    early = plan(node="SCAIL2MotionTransfer", values=MOTION, video=None)
    assert early["lines"][0] == "new frames 76 to 156, 81 in all; the video's end: known after the first run or check."


@pytest.mark.parametrize("gib", [0, 8, 24, 140])
def test_memory_is_that_of_the_budget(plan, gib):
    config = TransformerConfig()
    tokens = budget.token_count(1280, 704, 81, 1)
    answer = plan(size={"width": 1280, "height": 704}, video=VIDEO | {"additional": 1},
                  machine=MACHINE | {"gpu_bytes": gib * GIB})
    expected = budget.activation_bytes(config, tokens, 1, gib * GIB)
    assert answer["estimate"]["activation_bytes"] == expected
    assert answer["estimate"]["rows_at_once"] == chunks.rows_at_once(tokens, config.dim, gib * GIB)
    if gib == 24:
        assert answer["lines"][1].startswith(f"About {expected / GIB:.1f} GiB of GPU memory beside the weights, which "
                                             "come and go (this GPU has 24 GiB), ")


def test_a_draft_is_planned_at_its_own_size_and_steps(plan):
    answer = plan(draft=True, segment_length=9)
    assert answer["lines"][0].startswith("draft, 448×256, 305 frames")
    assert answer["lines"][1:] == plan(size={"width": 448, "height": 256}, steps=8, segment_length=9)["lines"][1:]
    wrong = plan(draft=True, size={"width": 500, "height": 512})
    assert "500" in wrong["problems"][0]["text"]


def test_time_is_that_of_the_budget_at_both_paces(plan):
    estimate = plan()["estimate"]
    forwards = 40 * 2 * sum(budget.token_seconds(TransformerConfig(), budget.token_count(896, 512, length, 0))
                            for length in (81, 81, 81, 77))
    coding = sum(budget.ENCODING.seconds(448, 256, length) + budget.DECODING.seconds(896, 512, length)
                 for length in (81, 81, 81, 77))
    assert estimate["seconds"] == pytest.approx(forwards + 2 * coding)
    slow = plan(machine=MACHINE | {"pace": 3.0})["estimate"]
    assert slow["seconds"] == pytest.approx(3 * forwards + 2 * coding)
    one = {name: value for name, value in MACHINE.items() if name != "coder_pace"}
    assert plan(machine=one)["estimate"]["seconds"] == pytest.approx(forwards + coding)
    assert plan(machine=one, guidance=1.0)["estimate"]["seconds"] == pytest.approx(forwards / 2 + coding)


def test_several_gpus_need_less_time_and_memory_on_each(plan):
    """Guidance 1: rows are shared by both. Guidance 5: each of the two makes one of both forwards."""
    config, two = TransformerConfig(), MACHINE | {"gpus": 2, "link": 1e15}
    tokens = budget.token_count(896, 512, 81, 0)
    shared = plan(machine=two, guidance=1.0)
    assert shared["estimate"]["activation_bytes"] == budget.activation_bytes(config, tokens, gpus=2)
    assert shared["lines"][1].startswith("About ")
    assert " of GPU memory on each of 2 GPUs (with 140 GiB), " in shared["lines"][1]
    halves, alone = plan(machine=two)["estimate"], plan(guidance=1.0)["estimate"]
    assert halves["activation_bytes"] == budget.activation_bytes(config, tokens)
    assert halves["seconds"] == pytest.approx(alone["seconds"])
    assert plan(machine=two | {"gpus": None})["estimate"] == plan()["estimate"]


def test_a_run_on_several_gpus_is_reckoned_to_take_as_long_again(plan):
    """Its pace is what it took against the budget, also where eight GPUs take longer to launch than to compute."""
    machine = MACHINE | {"gpus": 8, "link": 1e15, "coder_pace": 0.0}
    usual, slow = (plan(machine=machine | {"pace": pace}, guidance=1.0)["estimate"] for pace in (1.0, 1.5))
    assert slow["seconds"] == pytest.approx(1.5 * usual["seconds"])


def test_a_model_in_int8_needs_more_on_a_small_card(plan):
    tokens, small = budget.token_count(896, 512, 81, 0), MACHINE | {"gpu_bytes": 8 * GIB}
    found = plan(machine=small | {"int8": True})["estimate"]
    assert found["activation_bytes"] == budget.activation_bytes(TransformerConfig(), tokens, 1, 8 * GIB, int8=True)
    assert found["activation_bytes"] > plan(machine=small)["estimate"]["activation_bytes"]


@pytest.mark.parametrize(("frames", "changed", "words"), [
    (61, {}, "1 segment of 61."), (309, {}, "4 segments of 81, overlap 5."),
    (305, {}, "4 segments of 81, overlap 5, last 77."),
    (297, {"lengths": "even"}, "4 segments of 77 to 81, overlap 5."),
    (305, {"scene_cuts": "100"}, "5 segments of 25 to 81 in 2 scenes, overlap 5."),
    (162, {"scene_cuts": "81"}, "2 segments of 81 in 2 scenes.")])
def test_a_plan_in_words(plan, frames, changed, words):
    assert plan(video=VIDEO | {"frames": frames}, **changed)["lines"][0].split(": ")[1] == words


def test_what_only_a_run_computes(plan):
    for name in ("segment_length", "overlap", "lengths", "scene_cuts"):
        values = {other: value for other, value in VALUES.items() if other != name}
        assert plan(values=values)["lines"] == [f"{name} is computed in the run, so the plan is not known before."]
    silent = {name: value for name, value in VALUES.items() if name not in ("steps", "fps")}
    assert plan(values=silent)["lines"][1].endswith(" a forward pass.")
    assert plan(values=silent, video=VIDEO | {"fps": None})["lines"][0].startswith("fps is computed in the run")


def test_before_the_first_run(plan):
    answer = plan(video=None, machine={})
    assert answer["lines"] == ["segments of 81, overlap 5. Frames: known after the first run or check.",
                               "Memory: known after the first run or check."]
    assert texts(plan(video=None, scene_cuts="soon")) == [refusal(parse_cuts, "soon", Fraction(16))]
    assert plan(video=None, size={"width": 512, "height": 512}, machine={})["lines"][1].endswith(
        " beside the weights; time: known after the first run or check.")


def test_identities(server):
    def card(side: str, number: int) -> dict:
        return {"side": side, "number": number, "place": number - 1, "colour": "#0000ff", "colour_name": "blue",
                "painted": False, "name": "", "front": None, "nearest": number}

    people = {"cards": [card(side, number) for side in ("reference", "driving") for number in (1, 2)], "front": "",
              "names": ""}
    shown = server.post("/scail2/identities", people | {"binding": "1:2"})
    assert [(row["number"], row["driven_by"]) for row in shown["rows"]] == [(1, 2), (2, None)]
    assert (shown["free"], shown["problem"]) == ([1], None)
    edited = server.post("/scail2/identities/edit", people | {"binding": "1:2", "change": ["bind", 2, 1],
                                                              "remembered": {"2": "Ben"}})
    assert edited == {"binding": "1:2, 2:1", "front": "", "names": ", Ben"}
