// What scail_model's segments, plan_text (scene cuts), conditioning (sizes), chunks and budget compute, for the page;
// tests/browser compares. Counts are frames, sizes pixels, memory bytes.

const GROUP = 4; // the VAE's frames in a latent frame, behind the first
export const GIB = 2 ** 30;
export const MODEL = { dim: 5120, ffn_dim: 13824, layers: 40 };
const CONTEXT = 512 + 257; // tokens of text and of CLIP
const LINEAR_RATE = 661e12, ATTENTION_RATE = 588e12; // FLOP/s on an H200
const DECODING = [42.9e-9, 52.9e-9], ENCODING = [27.1e-9, 33.5e-9]; // seconds per pixel of the first frame, and of others

/** What is wrong with a size, null if nothing: {text, choices}. */
export function sizeProblem(name, value) {
  if (value >= 32 && value % 32 === 0) return null;
  const below = Math.max(Math.floor(value / 32) * 32, 32);
  return {
    text: `The ${name} is ${value} pixels, but SCAIL-2 needs a multiple of 32: use ${below} or ${below + 32}.`,
    choices: [below, below + 32],
  };
}

/** What is wrong with the frames of a segment. */
export function lengthProblem(length) {
  if (length >= 5 && length % GROUP === 1) return null;
  const below = Math.max(5, down(length));
  return {
    text: `segment_length is ${length}, but it must be 4n+1 and at least 5: take ${below} or ${below + GROUP}`,
    choices: [below, below + GROUP],
  };
}

/** What is wrong with an overlap in segments of a right length. */
export function overlapProblem(overlap, length) {
  const longest = length - GROUP;
  if (overlap < 1) {
    return {
      text: `overlap is ${overlap}, but every segment needs at least 1 frame of history: take 1 to ${longest}, in fours`,
      choices: longest > 1 ? [1, 5] : [1],
    };
  }
  if (overlap <= longest && overlap % GROUP === 1) return null;
  const below = Math.min(down(overlap), longest);
  const choices = below < longest ? [below, below + GROUP] : [longest];
  return {
    text: `overlap is ${overlap}, but it must be 4n+1 and at most ${longest} in segments of ${length} frames: `
      + `take ${choices.join(" or ")}`,
    choices,
  };
}

/** The smallest 4n+1 that holds so many frames. */
export const paddedLength = (frames) => Math.ceil((frames - 1) / GROUP) * GROUP + 1;

/** Segments {start, stop, length, overlap} of one scene; right lengths are taken for granted. */
export function planSegments(total, length, overlap, lengths = "short last") {
  const count = 1 + Math.max(0, Math.ceil((total - length) / (length - overlap)));
  const wanted = lengths === "even" ? even(total, count, overlap) : Array(count).fill(length);
  const segments = [];
  for (const frames of wanted) {
    const start = segments.length ? segments.at(-1).stop - overlap : 0;
    const stop = Math.min(start + frames, total);
    segments.push({ start, stop, length: paddedLength(stop - start), overlap: segments.length ? overlap : 0 });
  }
  if (lengths === "full last") segments.at(-1).length = length;
  return segments;
}

/** Segments of all scenes. Throws for cuts that do not rise or lie outside. */
export function planScenes(total, cuts, length, overlap, lengths) {
  cuts.forEach((cut, index) => {
    if ((cuts[index - 1] ?? 0) < cut && cut < total) return;
    throw new Error(`A scene cut is at frame ${cut}, but cuts must rise and lie between 1 and ${total - 1}: correct `
      + "scene_cuts.");
  });
  const edges = [0, ...cuts, total];
  return edges.slice(1).flatMap((stop, index) => planSegments(stop - edges[index], length, overlap, lengths)
    .map((segment) => ({ ...segment, start: segment.start + edges[index], stop: segment.stop + edges[index] })));
}

/** Frames of scene cuts as they are written; rate as "24000/1001" or 16. Throws for what is neither frame nor time. */
export function parseCuts(text, rate) {
  return text.trim().split(/[,\s]+/).filter(Boolean).map((part) => {
    if (/^\d+$/.test(part)) return Number(part);
    const time = part.match(/^(?:(?:(\d+):)?(\d+):)?(\d+)(?:\.(\d+))?s?$/);
    if (!time || !(part.includes(":") || part.endsWith("s"))) {
      throw new Error(`"${part}" in scene_cuts is neither a frame nor a time: write 120, 1:05.2 or 65.2s.`);
    }
    const [hours, minutes, seconds, decimals] = time.slice(1).map((digits) => digits ?? "");
    const [above, below] = fraction(rate);
    const scale = 10n ** BigInt(decimals.length);
    const whole = 3600n * BigInt(hours) + 60n * BigInt(minutes) + BigInt(seconds);
    return Number(rounded((whole * scale + BigInt(decimals)) * above, scale * below));
  });
}

/** Frames per second as a number. */
export function framesPerSecond(rate) {
  const [above, below] = fraction(rate);
  return Number(above) / Number(below);
}

/** Tokens of one forward; `additional` references beside the primary. */
export function tokenCount(width, height, frames, additional) {
  const area = width * height, latent = Math.floor((frames - 1) / GROUP) + 1;
  return Math.floor(area / 256) * (additional + 1 + latent) + Math.floor(area / 1024) * latent;
}

/** What a forward adds to the weights; total: memory of the card, 0 if that is unknown. */
export function activationBytes(dim, tokens, batch = 1, total = 0) {
  const rows = rowsAtOnce(tokens, dim, total, batch);
  const [kept, chunk] = inChunks(batch);
  const channel = rows === null ? (batch === 1 ? 14.05 : 14.84) * tokens : kept * tokens + chunk * rows;
  return Math.max(channel * batch * dim, 24 * dim ** 2 + 4 * batch * tokens * dim);
}

/** Seconds on an H200 for one forward of one prompt. */
export function forwardSeconds({ dim, ffn_dim, layers }, tokens) {
  const linear = 2 * tokens * (6 * dim ** 2 + 2 * dim * ffn_dim) + 4 * CONTEXT * dim ** 2;
  return layers * (linear / LINEAR_RATE + 4 * tokens * (tokens + CONTEXT) * dim / ATTENTION_RATE);
}

/** Seconds for segments of these lengths, encoded, sampled and decoded; paces of network and VAE: seconds for one on
 * an H200. */
export function videoSeconds(model, { width, height, lengths, additional, steps, guidance }, pace = 1, coderPace = pace) {
  const forwards = steps * (guidance > 1 ? 2 : 1);
  return lengths.reduce((sum, frames) => sum
    + pace * forwards * forwardSeconds(model, tokenCount(width, height, frames, additional))
    + coderPace * width * height * (coder(DECODING, frames) + coder(ENCODING, frames) / 4), 0);
}

/** Segments in words: number, lengths, overlap. */
export function planText(plan) {
  const lengths = plan.map((segment) => segment.length), last = lengths.at(-1);
  const scenes = plan.filter((segment) => !segment.overlap).length;
  const places = scenes > 1 ? ` in ${scenes} scenes` : "";
  if (plan.length === 1) return `1 segment of ${last}`;
  const overlap = Math.max(...plan.map((segment) => segment.overlap));
  const same = lengths.slice(0, -1).every((length) => length === lengths[0]);
  const range = same ? lengths[0] : `${Math.min(...lengths)} to ${Math.max(...lengths)}`;
  return `${plan.length} segments of ${range}${places}${overlap ? `, overlap ${overlap}` : ""}`
    + (same && last !== lengths[0] ? `, last ${last}` : "");
}

/** Seconds in words. */
export function duration(seconds) {
  if (seconds < 59.5) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const down = (frames) => Math.floor((frames - 1) / GROUP) * GROUP + 1;

function even(total, count, overlap) {
  const groups = Math.ceil((total - 1) / GROUP) + Math.floor((count - 1) * (overlap - 1) / GROUP);
  return Array.from({ length: count }, (_, index) => GROUP * (Math.floor(groups / count)
    + (index < groups % count ? 1 : 0)) + 1);
}

/** Bytes per channel, of a token and of a row of a chunk. */
const inChunks = (batch) => batch === 1 ? [8, 12] : [9.4, 10.4];

function rowsAtOnce(tokens, dim, total, batch) {
  if (!total || 14.05 * batch * tokens * dim <= total / 3) return null;
  const rows = Math.floor(total / 16 / (inChunks(batch)[1] * batch * dim) / 128) * 128;
  const held = Math.min(Math.max(rows, 4096), 16384);
  return held < tokens ? held : null;
}

const coder = ([first, next], frames) => first + next * (frames - 1);

/** "24000/1001" or 29.97 -> [above, below]; the page's numbers have two decimals. */
function fraction(rate) {
  const [above, below = "1"] = typeof rate === "number" ? [String(Math.round(rate * 100)), "100"] : rate.split("/");
  return [BigInt(above), BigInt(below)];
}

/** The nearest whole number, halves to the even one, as Python rounds. */
function rounded(above, below) {
  const whole = above / below, rest = 2n * (above % below);
  return rest > below || (rest === below && whole % 2n) ? whole + 1n : whole;
}
