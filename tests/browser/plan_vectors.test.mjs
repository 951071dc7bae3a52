// js/lib/plan.mjs against the vectors of vectors.py: node --test, with their file in VECTORS.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import * as plan from "../../js/lib/plan.mjs";

const vectors = JSON.parse(readFileSync(process.env.VECTORS, "utf8"));

for (const name of new Set(vectors.map(([name]) => name))) {
  test(name, () => {
    for (const [, given, expected] of vectors.filter(([found]) => found === name)) {
      same(said(plan[name], given), expected, JSON.stringify([name, given]));
    }
  });
}

test("choices of a problem are right, and in its text", () => {
  for (const [name, given, expected] of vectors.filter(([name]) => name.endsWith("Problem"))) {
    if (!expected) continue;
    const { text, choices } = plan[name](...given);
    for (const choice of choices) {
      const corrected = name === "sizeProblem" ? [given[0], choice] : [choice, ...given.slice(1)];
      assert.equal(plan[name](...corrected), null);
      assert.ok(text.includes(String(choice)) || text.includes("in fours"), text);
    }
  }
});

test("a plan in words", () => {
  const words = (...given) => plan.planText(plan.planScenes(...given));
  assert.equal(words(61, [], 81, 5), "1 segment of 61");
  assert.equal(words(309, [], 81, 5), "4 segments of 81, overlap 5");
  assert.equal(words(305, [], 81, 5), "4 segments of 81, overlap 5, last 77");
  assert.equal(words(297, [], 81, 5, "even"), "4 segments of 77 to 81, overlap 5");
  assert.equal(words(305, [100], 81, 5), "5 segments of 25 to 81 in 2 scenes, overlap 5");
  assert.equal(words(162, [81], 81, 5), "2 segments of 81 in 2 scenes");
});

function said(function_, given) {
  try {
    return function_(...given);
  } catch (error) {
    return { error: error.message };
  }
}

function same(found, expected, message) {
  if (typeof expected === "number" && !Number.isInteger(found)) {
    assert.ok(Math.abs(found - expected) <= 1e-9 * Math.abs(expected) + 0.5 * (expected > 1e6), `${message}: ${found}`);
  } else if (expected?.text) assert.equal(found?.text, expected.text, message);
  else assert.deepEqual(found, expected, message);
}
