"""The timeline of Sample SCAIL-2 Video in the real frontend, watched while the server makes a video."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import assets
import browser
import pytest
from comfyui import PACK
from graphs import Graph, add_inputs, add_sample_video, load

from scail_model.plan_text import parse_plan, with_remakes
from scail_model.segments import plan_segments

SCENARIOS = Path(browser.__file__).parent
FRAMES = 17  # three segments: new frames 9, 4, 4


@pytest.fixture(scope="module", params=[False, True], ids=["litegraph", "vue"])
def page(request, server):
    """page(scenario, **given) -> its answer; the page must have no error of ours, and ask nobody but the server."""
    missing = browser.missing()
    if missing:
        pytest.skip(missing)

    def run(scenario: str, **given):
        found = browser.run(server, SCENARIOS / f"{scenario}.mjs", vue=request.param, **given)
        assert found["requests"] == []
        assert [message for message in found["messages"] if "scail2" in message.lower() or "Error" in message] == []
        return found["answer"]

    return run


def graph(images, **options) -> tuple[dict, int]:
    """An API graph with numbers for names, as the page gives them, and the sampler's number."""
    made = Graph(images)
    add_inputs(made, frames=FRAMES)
    made.set("vae", vae_name="tiny_vae.safetensors")
    add_sample_video(made, load(made, "tiny.safetensors"), **({"segment_length": 9, "codec": "h264"} | options))
    made.add("file", "SaveVideo", video=["sampled", 0], filename_prefix="timeline", format="auto", codec="auto")
    numbers = {name: number for number, name in enumerate(made, 1)}
    prompt = {str(numbers[name]): {"class_type": node["class_type"], "inputs": {
        key: [str(numbers[value[0]]), value[1]] if isinstance(value, list) else value
        for key, value in node["inputs"].items()}} for name, node in made.items()}
    return prompt, numbers["sampled"]


# Made-up events

RUN = {"prompt_id": "made-up", "workflow": None, "count": 3}
PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="
PLAN = '[{"guidance": 4.0}, {"segments": 2, "seed": 18446744073709551614}]'
WHOLE = RUN | {"version": 1, "state": "running", "left": None, "segments": [
    {"index": index, "start": start, "stop": stop, "overlap": overlap, "state": "waiting", "step": 0, "steps": 4,
     "seconds": None, "thumbnail": None, "part": None, "seam": None}
    for index, (start, stop, overlap) in enumerate([(0, 81, 0), (76, 157, 5), (152, 193, 5)])]}


def changes():
    """Messages behind WHOLE; the second segment gets its verdict late."""
    done = {"state": "done", "thumbnail": PICTURE, "part": {"filename": "1.mp4", "subfolder": "x", "type": "output"}}
    told = [(None, [{"index": 0, "state": "sampling"}]),
            (125.4, [{"index": 0, "step": 2, "seconds": 31.2}]),
            (90, [{"index": 0, **done, "step": 4}, {"index": 1, "state": "sampling", "step": 1}]),
            (40, [{"index": 1, **done, "step": 4, "seconds": 61}, {"index": 2, "state": "encoding"}]),
            (40, [{"index": 1, "seam": "visible"}])]
    messages = [RUN | {"version": version, "state": "running", "left": left, "segments": segments}
                for version, (left, segments) in enumerate(told, 2)]
    return [*messages, RUN | {"version": len(messages) + 2, "state": "cancelled", "left": None, "segments": []}]


def test_made_up_events(page):
    other = WHOLE | {"workflow": "12345678-0000-4000-8000-000000000000", "prompt_id": "of another workflow"}
    found = page("timeline", whole=WHOLE, changes=changes(), other=other, plan=PLAN, height=1100)
    assert found["other"]["blocks"] == []
    assert found["begun"]["blocks"] == ["Segment 1, frames 0 to 80, waiting", "Segment 2, frames 81 to 156, waiting",
                                        "Segment 3, frames 157 to 192, waiting"]
    assert [step["line"] for step in found["steps"]] == [
        "0 of 3 segments finished", "0 of 3 segments finished, about 2 min 5 s left",
        "1 of 3 segments finished, about 1 min 30 s left", "2 of 3 segments finished, about 40 s left",
        "2 of 3 segments finished, about 40 s left", "2 of 3 segments finished, cancelled"]
    assert [round(step["bar"], 3) for step in found["steps"]] == [
        0, round(40.5 / 203, 3), round(101.25 / 203, 3), *[round(162 / 203, 3)] * 3]
    assert found["steps"][-1]["blocks"] == [
        "Segment 1, frames 0 to 80, done, 31 s", "Segment 2, frames 81 to 156, done, 1 min 1 s, ! seam visible",
        "Segment 3, frames 157 to 192, stopped"]
    assert found["steps"][-1]["open"] == [True, True, False]
    assert found["widths"][0] == pytest.approx(found["widths"][1], abs=2)
    assert found["widths"][2] < found["widths"][0]
    assert found["expanded"] == "true"
    assert found["prefilled"] == "18446744073709551614"
    entry = '{"segments": 2, "prompt": "She says \\"no\\", and turns.", "seed": 18446744073709551615, "only": true}'
    lasting = '{"segments": 2, "seed": 18446744073709551614}'
    assert found["written"] == {"plan": f'[\n {{"guidance": 4.0}},\n {lasting},\n {entry}\n]', "remake": "3",
                                "remake_scope": "only these", "remake_seed": 5}
    other = '{"segments": 3, "seed": 5, "only": true}'
    assert found["remade"] == {"plan": f'[\n {{"guidance": 4.0}},\n {lasting},\n {entry},\n {other}\n]', "remake": "2",
                               "remake_scope": "and everything after", "remake_seed": 77}
    assert found["refused"].startswith("A seed is a whole number")
    assert found["unchanged"] == found["remade"]
    begun = {"plan": PLAN, "remake": "3", "remake_scope": "only these", "remake_seed": 5}
    assert found["keys"] == [[texts, 3] for texts in (found["written"], begun, found["written"], found["remade"])]
    assert not any("scail2" in str(value) or "Segment" in str(value) for value in found["saved"])
    number, *shown = found["subgraph"]
    assert ":" in number
    assert shown == [False, True]
    assert found["listeners"] == 0


# A real run

def test_run_that_is_watched(page, server):
    jobs = server.base / "output/scail2_jobs"
    shutil.rmtree(jobs, ignore_errors=True)
    prompt, sampler = graph(assets.write_pictures(server.base / "input"))
    found = page("timeline_run", graph=prompt, sampler=sampler, slow={"seed": 4, "steps": 60})

    states = ["waiting", "encoding", "sampling", "decoding", "writing", "done"]
    for segment in range(3):
        seen = [now[segment] for now in found["seen"]]
        assert [state for state, _ in itertools.groupby(seen)] == states
    assert all(now[segment] == "waiting" or now[segment - 1] not in ("waiting", "encoding", "sampling", "decoding")
               for now in found["seen"] for segment in (1, 2))
    assert found["done"] == {"blocks": [{"state": "done", "thumbnail": True}] * 3, "line": "3 of 3 segments finished"}
    assert all("seam" in text for text in found["seams"][1:])
    assert found["seams"][0] == ""

    assert found["played"] == [64, False]

    for before, after in zip(found["before"], found["after"], strict=True):  # it went on meanwhile
        assert states.index(after["state"]) >= states.index(before["state"])
        assert after["thumbnail"] == (after["state"] == "done")
    assert found["before"][0] == found["after"][0] == {"state": "done", "thumbnail": True}

    assert found["cancelled"]["line"].endswith("of 3 segments finished, cancelled")
    assert "stopped" in [block["state"] for block in found["cancelled"]["blocks"]]

    assert found["kept"] == ["kept"] * 3
    expected = {"plan": "", "remake": "2", "remake_scope": "only these", "remake_seed": 9}
    assert {name: found["widgets"][name] for name in expected} == expected
    assert found["remade"] == ["kept", "done", "kept"]
    (folder,) = (path for path in jobs.iterdir() if len(list(path.glob("video-*.mp4"))) == 2)
    count = {number: len(list(folder.glob(f"{number:04}-*.latent.safetensors"))) for number in (1, 2, 3)}
    assert count == {1: 1, 2: 2, 3: 1}


# The texts that are written

def test_texts_without_a_page():
    if shutil.which("node") is None:
        pytest.skip("no Node.js: install node")
    done = subprocess.run(["node", "--test", *map(str, sorted(SCENARIOS.glob("unit/*.test.mjs")))], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-3000:]


SEGMENTS, RATE = plan_segments(400), Fraction(16)  # six of them
OLD = ["", PLAN, '{"segments": "2-4", "saved_prompt": "red", "history_strength": 0.50}',
       '[{"segments": "3", "seed": 1, "only": true, "guidance": 3}, {"frames": "100-300", "driving_strength": 1e0}]',
       '[{"time": "0:00-0:20", "prompt": "{a} [1, 2] 3.0", "negative_prompt": "\\\\\\"x"}, {"segments": 3, "seed": 7}]']


@pytest.fixture(scope="module")
def edited():
    """(function of plan_text.mjs, arguments) -> its result."""
    if shutil.which("node") is None:
        pytest.skip("no Node.js: install node")

    def run(function, *given):
        program = f"""import * as texts from {json.dumps((PACK / "js/lib/plan_text.mjs").as_uri())};
            console.log(JSON.stringify(texts[{json.dumps(function)}](...{json.dumps(given)})))"""
        done = subprocess.run(["node", "--input-type=module", "-e", program], capture_output=True, text=True,
                              check=True)
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("old", OLD)
def test_python_reads_the_page_s_plan(edited, old, only):
    before = parse_plan(old, SEGMENTS, RATE)
    new = edited("withSegment", old, 3, {"prompt": 'a "b" \\ 5', "seed": str(2**64 - 1), "only": only})
    after = parse_plan(new, SEGMENTS, RATE)
    assert [changes for index, changes in enumerate(after) if index != 2] == [
        changes for index, changes in enumerate(before) if index != 2]
    own = after[2].only if only else after[2].lasting
    assert (own.prompt, own.seed, own.saved_prompt) == ('a "b" \\ 5', 2**64 - 1, None)
    assert not only or after[2].lasting == before[2].lasting
    cleared = edited("withSegment", new, 3, {"prompt": "", "seed": "", "only": False})
    assert '"seed": 18446744073709551615' not in cleared
    assert len(parse_plan(cleared, SEGMENTS, RATE)) == len(SEGMENTS)


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("old", OLD)
def test_segments_that_were_remade_before_stay_so(edited, old, only):
    now = {"plan": old, "remake": "5-6, 1,3", "remake_seed": 40, "only": only}
    before = with_remakes(parse_plan(old, SEGMENTS, RATE), now["remake"], 40, only)
    for scope in ("and everything after", "only these"):
        new = edited("withRemake", now, 3, {"seed": "9", "scope": scope})
        assert (new["remake"], new["remake_seed"], new["remake_scope"]) == ("3", 9, scope)
        after = with_remakes(parse_plan(new["plan"], SEGMENTS, RATE), "3", 9, scope == "only these")
        assert [changes for index, changes in enumerate(after) if index != 2] == [
            changes for index, changes in enumerate(before) if index != 2]
        own = after[2].only if scope == "only these" else after[2].lasting
        assert own.seed == 9
