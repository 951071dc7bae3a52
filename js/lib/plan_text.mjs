// The texts of `plan` and `remake`, edited without losing what else is in them. No page is needed here.

// Numbers stay as they are written: seeds of 64 bits are more than JavaScript's numbers hold, and 4.0 is not 4 in the
// name of a file. So they are texts with a mark before them while a plan is in work.
const MARK = "\u0001";
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;
const MARKED = /"\\u0001([^"]*)"/g;
const PLACES = ["segments", "time", "frames"];
const MOST = 2n ** 64n - 1n;

/** What an entry for this one segment says: {prompt, seed, only}, texts and a boolean; empty where nothing is said. */
export function segmentOf(text, number) {
  const found = { prompt: "", seed: "", only: false };
  for (const entry of read(text).filter((entry) => isAbout(entry, number))) {
    if (typeof entry.prompt === "string") found.prompt = entry.prompt;
    if (entry.seed) found.seed = entry.seed.slice(1);
    found.only = entry.only === true;
  }
  return found;
}

/**
 * The plan with a prompt and a seed (texts, empty for none) for a segment; all else stays. only: later segments do
 * not see it. Throws an Error, to be shown, for a plan that cannot be read or a seed that is none.
 */
export function withSegment(text, number, { prompt = "", seed = "", only = false }) {
  const own = { segments: MARK + number };
  if (prompt) own.prompt = prompt;
  if (seed) own.seed = MARK + checked(seed);
  if (only) own.only = true;
  const entries = read(text).map((entry) => {
    // later segments keep what they see when this segment alone is changed
    if (!isAbout(entry, number) || (only && entry.only !== true)) return entry;
    const { prompt: _, seed: __, ...rest } = entry;
    if (prompt) delete rest.saved_prompt;
    return rest;
  }).filter(says);
  return write(prompt || seed ? [...entries, own] : entries);
}

/**
 * Widget values that make a segment again: {plan, remake, remake_seed, remake_scope}. Other segments that `remake` names
 * go into the plan with their seeds, so that they stay what they are. now: {plan, remake, remake_seed, only}, only says
 * what the scope means. then: {seed, scope}.
 */
export function withRemake(now, number, then) {
  const first = BigInt(now.remake_seed);
  const others = numbers(now.remake).map((segment, index) => ({ segment, seed: String(first + BigInt(index)) }))
    .filter(({ segment }) => segment !== number);
  let { plan } = now;
  for (const { segment, seed } of others) plan = write([...read(plan), {
    segments: MARK + segment, seed: MARK + seed, ...(now.only ? { only: true } : {}),
  }]);
  return { plan, remake: String(number), remake_seed: Number(checked(then.seed)), remake_scope: then.scope };
}

/** "3, 5-6" -> [3, 5, 6], rising. Throws an Error, to be shown, for anything else. */
export function numbers(text) {
  const found = new Set();
  for (const part of text.replace(/\s*-\s*/g, "-").split(/[,\s]+/).filter(Boolean)) {
    const ends = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (!ends) throw new Error(`"${part}" in remake is not a segment number: correct it first.`);
    for (let segment = Number(ends[1]); segment <= Number(ends[2] ?? ends[1]); segment++) found.add(segment);
  }
  return [...found].sort((one, other) => one - other);
}

function checked(seed) {
  if (!/^\d+$/.test(seed) || BigInt(seed) > MOST) throw new Error("A seed is a whole number from 0 on, 64 bits at most.");
  return String(BigInt(seed));
}

function read(text) {
  if (!text.trim()) return [];
  let entries;
  try {
    JSON.parse(text);
    entries = JSON.parse(text.replace(TOKENS, (token) => token[0] === '"' ? token : `"\\u0001${token}"`));
  } catch (error) {
    throw new Error(`The plan is not valid JSON (${error.message}): correct it first.`);
  }
  entries = Array.isArray(entries) ? entries : [entries];
  if (!entries.every((entry) => entry && typeof entry === "object" && !Array.isArray(entry))) {
    throw new Error("The plan is not a list of entries: correct it first.");
  }
  return entries;
}

function write(entries) {
  const lines = entries.map((entry) => `{${Object.entries(entry).map(
    ([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value).replace(MARKED, "$1")}`).join(", ")}}`);
  if (!lines.length) return "";
  return lines.length === 1 ? `[${lines[0]}]` : `[\n ${lines.join(",\n ")}\n]`;
}

function isAbout(entry, number) {
  return "segments" in entry && String(entry.segments).replace(MARK, "").trim() === String(number);
}

/** Whether anything is different because of an entry. */
function says(entry) {
  return Object.keys(entry).some((key) => key !== "only" && !PLACES.includes(key));
}
