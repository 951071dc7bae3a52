// binding_text.mjs against what binding.py says. VECTORS: a JSON file that test_binding_text.py has written.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as texts from "../../js/lib/binding_text.mjs";

const vectors = JSON.parse(readFileSync(process.env.VECTORS, "utf8"));

for (const { title, cards, binding, front, names, bound } of vectors) {
  test(title, () => {
    const pairs = texts.readBinding(binding, cards);
    if (bound.refused === "binding") return assert.equal(pairs, null);
    const order = texts.readFront(front, pairs, cards);
    if (bound.refused === "front") return assert.equal(order, null);
    assert.deepEqual([...pairs].sort(([left], [right]) => left - right), bound.pairs);
    assert.deepEqual(order, bound.front);
    const written = texts.readNames(names, cards);
    const theirs = new Map(cards.filter(({ side }) => side === "driving").map((card) => [card.number, card.name]));
    assert.deepEqual(bound.pairs.map(([ours, their]) => written.get(ours) || theirs.get(their)
      || texts.colourCard(ours, pairs, cards).colour_name), bound.names);
    assert.deepEqual(bound.pairs.map(([ours]) => texts.colourCard(ours, pairs, cards).colour_name), bound.colours);
    // what is written means the same
    assert.deepEqual(texts.readBinding(texts.writeBinding(pairs, cards), cards), new Map(bound.pairs));
    assert.deepEqual(texts.readFront(texts.writeFront(order, pairs, cards), pairs, cards), order);
    assert.equal(texts.writeNames(written, pairs, cards), names);
  });
}

test("nothing is written where nothing is meant", () => {
  const { cards } = vectors.find(({ title }) => title.startsWith("two people"));
  const pairs = new Map([[2, 2], [1, 1]]);
  assert.equal(texts.writeBinding(pairs, cards), "");
  assert.equal(texts.writeFront([1, 2], pairs, cards), "");
  assert.equal(texts.writeNames(new Map([[1, " "]]), pairs, cards), "");
  assert.equal(texts.writeNames(new Map([[2, "Ben, the second"]]), pairs, cards), ", Ben the second");
});

test("a driving person who is chosen twice changes places", () => {
  const pairs = new Map([[1, 1], [2, 2]]);
  assert.deepEqual(texts.rebind(pairs, 1, 2), new Map([[1, 2], [2, 1]]));
  assert.deepEqual(texts.rebind(pairs, 1, 3), new Map([[1, 3], [2, 2]]));
  assert.deepEqual(texts.rebind(pairs, 1, null), new Map([[2, 2]]));
  assert.deepEqual(texts.rebind(new Map([[2, 2]]), 1, 2), new Map([[1, 2]]));
});
