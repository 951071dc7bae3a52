// The texts of SCAIL2Identities' widgets `binding`, `front` and `names`, read and written as binding.py does.
// cards: what a run says of everybody (identity_cards.py). pairs: Map from reference number to driving number.

const BY_POSITION = "by position";

/** Those of one side, "reference" or "driving". */
export function sideOf(cards, side) {
  return cards.filter((card) => card.side === side);
}

/** Who is bound to whom; null for a text that cannot be read, or that is empty where it must not be. */
export function readBinding(text, cards) {
  const written = text.trim().toLowerCase();
  if (!written) return chosen(cards, "same");
  if (written === BY_POSITION) return chosen(cards, "nearest");
  const pairs = new Map();
  for (const part of written.split(",")) {
    const [, ours, theirs] = /^\s*(\d+)\s*:\s*(\d+)\s*$/.exec(part) ?? [];
    const [left, right] = [Number(ours), Number(theirs)];
    const known = has(cards, "reference", left) && has(cards, "driving", right);
    if (!known || pairs.has(left) || [...pairs.values()].includes(right)) return null;
    pairs.set(left, right);
  }
  return pairs;
}

/** The shortest text for it: empty if nothing else is meant. */
export function writeBinding(pairs, cards) {
  const usual = chosen(cards, "same");
  const listed = sorted(pairs);
  if (usual && listed.join() === sorted(usual).join()) return "";
  return listed.map(([ours, theirs]) => `${ours}:${theirs}`).join(", ");
}

/** One more pair, or nobody (null) for a person of the reference. Who had that driving person gets what is free now. */
export function rebind(pairs, ours, theirs) {
  const changed = new Map(pairs);
  const before = changed.get(ours);
  const other = [...changed.keys()].find((key) => key !== ours && changed.get(key) === theirs);
  if (other !== undefined && before !== undefined) changed.set(other, before);
  else if (other !== undefined) changed.delete(other);
  if (theirs === null) changed.delete(ours);
  else changed.set(ours, theirs);
  return changed;
}

/** Bound numbers of the reference, the front one first; null for a text that cannot be read. */
export function readFront(text, pairs, cards) {
  const parts = text.split(",").map((part) => part.trim()).filter((part) => part);
  const bound = sorted(pairs).map(([ours]) => ours);
  const known = text.trim() ? [] : knownFront(pairs, cards);
  const listed = [...known, ...parts.map((part) => bound.find((number) => String(number) === part))];
  if (listed.includes(undefined) || new Set(listed).size < listed.length) return null;
  return [...listed, ...bound.filter((number) => !listed.includes(number))];
}

/** The text for an order of all bound numbers: empty for the order that there is without. */
export function writeFront(order, pairs, cards) {
  return order.join() === readFront("", pairs, cards).join() ? "" : order.join(", ");
}

/** Names that are written, Map from reference number to name. */
export function readNames(text, cards) {
  const parts = text.split(",").map((part) => part.trim());
  return new Map(sideOf(cards, "reference").map((card) => [card.number, parts[card.place] ?? ""]));
}

/** Names of those who are bound, in the reference's order; a comma within a name becomes a space. */
export function writeNames(names, pairs, cards) {
  const parts = [];
  for (const { number, place } of sideOf(cards, "reference")) {
    const name = pairs.has(number) ? names.get(number) ?? "" : "";
    parts[place] = name.replace(/\s*,\s*/g, " ").trim();
  }
  while (parts.length && !parts.at(-1)) parts.pop();
  return Array.from(parts, (part) => part ?? "").join(", ");
}

/** The card whose colour a bound person of the reference gets. */
export function colourCard(ours, pairs, cards) {
  const references = sideOf(cards, "reference");
  const card = references.find(({ number }) => number === ours);
  const driving = cards.find(({ side, number }) => side === "driving" && number === pairs.get(ours));
  if (card.painted || !driving) return card;
  if (driving.painted) return driving;
  const bound = sorted(pairs).map(([number]) => number);
  // more people than colours: those who are bound have them in their order
  return bound.every((number) => cards.some((other) => other.number === number && other.colour)) ? card
    : cards.find((other) => other.number === bound.indexOf(ours) + 1) ?? card;
}

function chosen(cards, key) {
  const pairs = sideOf(cards, "reference").filter((card) => card[key] !== null)
    .map((card) => [card.number, card[key]]);
  return pairs.length ? new Map(pairs) : null;
}

function has(cards, side, number) {
  return cards.some((card) => card.side === side && card.number === number);
}

/** Whom the driving masks know to be in front, as reference numbers. */
function knownFront(pairs, cards) {
  const places = new Map(sideOf(cards, "driving").map((card) => [card.number, card.front]));
  return sorted(pairs).filter(([, theirs]) => (places.get(theirs) ?? null) !== null)
    .sort(([, left], [, right]) => places.get(left) - places.get(right)).map(([ours]) => ours);
}

function sorted(pairs) {
  return [...pairs].sort(([left], [right]) => left - right);
}
