import assert from "node:assert/strict";
import { test } from "node:test";

import { numbers, segmentOf, withRemake, withSegment } from "../../../js/lib/plan_text.mjs";

test("numbers are kept as they are written", () => {
  const plan = '[{"guidance": 4.0, "seed": 18446744073709551615}, {"segments": "1-2", "driving_strength": 1.50e0}]';
  const found = withSegment(plan, 2, { seed: "007" });
  assert.equal(found, '[\n {"guidance": 4.0, "seed": 18446744073709551615},\n {"segments": "1-2", "driving_strength": '
    + '1.50e0},\n {"segments": 2, "seed": 7}\n]');
});

test("an entry of its own is replaced, and what else it says stays", () => {
  const plan = '[{"segments": 2, "seed": 1, "guidance": 3.5}, {"segments": "2", "prompt": "old"}, {"segments": 3, "seed": 2}]';
  assert.equal(withSegment(plan, 2, { prompt: "new" }),
    '[\n {"segments": 2, "guidance": 3.5},\n {"segments": 3, "seed": 2},\n {"segments": 2, "prompt": "new"}\n]');
});

test("empty fields take it out", () => {
  assert.equal(withSegment('[{"segments": 2, "seed": 1, "only": true}]', 2, {}), "");
  assert.equal(withSegment("", 2, { only: true }), "");
});

test("a saved prompt makes room for a written one, and stays otherwise", () => {
  const plan = '[{"segments": 2, "saved_prompt": "red"}]';
  assert.equal(withSegment(plan, 2, { prompt: "blue" }), '[{"segments": 2, "prompt": "blue"}]');
  assert.equal(withSegment(plan, 2, { seed: "4" }), '[\n {"segments": 2, "saved_prompt": "red"},\n {"segments": 2, "seed": 4}\n]');
});

test("what an entry says is read back", () => {
  const given = { prompt: 'he said "3", \\ and {4}', seed: "18446744073709551615", only: true };
  assert.deepEqual(segmentOf(withSegment('{"guidance": 4}', 12, given), 12), given);
  assert.deepEqual(segmentOf('[{"segments": "1-3", "seed": 4}]', 2), { prompt: "", seed: "", only: false });
});

test("what cannot be read is told and not touched", () => {
  for (const plan of ["[{]", "3", '["segments"]', "[{'segments': 3}]"]) {
    assert.throws(() => withSegment(plan, 2, { seed: "4" }), /^Error: The plan is not .*correct it first/s);
  }
  for (const seed of ["-1", "x", "1.5", "18446744073709551616"]) {
    assert.throws(() => withSegment("", 2, { seed }), /A seed is a whole number/);
  }
  assert.throws(() => withRemake({ plan: "", remake: "two", remake_seed: 1 }, 2, { seed: "1" }), /"two" in remake/);
});

test("segments of remake, as Python counts them", () => {
  assert.deepEqual(numbers(" 6 - 5 7, 3"), [3, 7]);
  assert.deepEqual(numbers("5-6, 3 3"), [3, 5, 6]);
  assert.deepEqual(numbers(""), []);
});
