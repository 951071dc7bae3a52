"""The plans that the page writes are read by Python as they are meant."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction

import browser
import pytest
from comfyui import PACK

from scail_model.segments import plan_segments
from scail_model.video.plan_parser import parse_plan, with_remakes


def test_texts_without_a_page():
    if shutil.which("node") is None:
        pytest.skip("no Node.js: install node")
    files = sorted(browser.FOLDER.glob("unit/*.test.mjs"))
    done = subprocess.run(["node", "--test", *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-3000:]


PLAN = '[{"guidance": 4.0}, {"segments": 2, "seed": 18446744073709551614}]'
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
