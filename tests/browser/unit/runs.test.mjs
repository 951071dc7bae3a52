import assert from "node:assert/strict";
import { test } from "node:test";

import { duration, follow, share, summary } from "../../../js/lib/runs.mjs";

const whole = (version = 1, more = {}) => ({
  prompt_id: "p", node: "1", workflow: null, version, state: "running", left: null, count: 2,
  segments: [0, 1].map((index) => ({ index, start: 0, stop: 10, state: "waiting", step: 0, steps: 4, ...more })),
});
const change = (version, segment) => ({ ...whole(version), segments: [segment] });

test("changes are put together, and a run of one segment is told from its changes", () => {
  const heard = [];
  const { hear } = follow(async () => [], (run) => heard.push(run.segments.map(({ state }) => state).join()));
  hear(whole());
  hear(change(2, { index: 1, state: "sampling" }));
  const one = { ...whole(), prompt_id: "q", count: 1, segments: [whole().segments[0]] };
  hear(one);
  hear({ ...one, version: 2, segments: [{ index: 0, step: 2 }] });
  assert.deepEqual(heard, ["waiting,waiting", "waiting,sampling", "waiting", "waiting"]);
});

test("a message that is missing has everything asked for, and what comes meanwhile is not lost", async () => {
  const heard = [];
  let answer;
  const { hear } = follow(() => new Promise((resolve) => { answer = resolve; }), (run) => heard.push(structuredClone(run)));
  hear(change(7, { index: 0, step: 3 })); // of a run that began before the page
  hear(change(8, { index: 1, state: "encoding" }));
  hear(change(9, { index: 1, state: "sampling" }));
  answer([whole(8, { state: "done" })]);
  await new Promise(setImmediate);
  assert.deepEqual(heard.map(({ version }) => version), [8, 9]);
  assert.deepEqual(heard.at(-1).segments.map(({ state }) => state), ["done", "sampling"]);
});

test("how much is done counts frames and steps", () => {
  const run = whole();
  Object.assign(run.segments[0], { state: "done", stop: 30 });
  Object.assign(run.segments[1], { state: "sampling", step: 1 });
  assert.equal(share(run), (30 + 2.5) / 40);
});

test("times and ends in words", () => {
  assert.deepEqual([9.6, 65, 3661].map(duration), ["10 s", "1 min 5 s", "1 h 1 min"]);
  assert.equal(summary({ ...whole(), left: 65 }), "0 of 2 segments finished, about 1 min 5 s left");
  assert.equal(summary({ ...whole(), state: "failed" }), "0 of 2 segments finished, stopped by an error");
});
