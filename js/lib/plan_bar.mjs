// The plan of a video on the nodes that make it: size, frames, segments, memory and time as a line, and the segments as
// a bar.
import { element } from "./dom.mjs";
import { holderOf, sourceOf } from "./graph.mjs";
import * as plan from "./plan.mjs";
import { attach as attachFacts, machine, videoOf } from "./plan_facts.mjs";
import { livePanel, problem } from "./plan_panel.mjs";
import { sizeProblems } from "./size_offers.mjs";

const WIDGETS = ["segment_length", "length", "overlap", "lengths", "scene_cuts", "fps", "steps", "guidance", "start_frame"];
const LATER = "known after the first run or check";

export function attach(node) {
  attachFacts(node);
  livePanel(node, WIDGETS, () => view(node), "scail2_plan", "Plan of the segments", { more: ({ bar, hatched }) =>
    bar && barOf(bar, hatched ? "hatched: taken over from the segment before" : "\u00a0") });
}

// What is to be shown, as plain data

function view(node) {
  const value = (name, on = node) => holderOf(on, name)?.widget.value;
  const facts = videoOf(node);
  const reference = sourceOf(node, "reference"), encoded = reference?.comfyClass === "SCAIL2EncodeReference";
  const size = (name) => (encoded ? value(name, reference) : null) ?? facts?.[name];
  const alone = node.comfyClass === "SCAIL2MotionTransfer", lengthName = alone ? "length" : "segment_length";
  const given = {
    value, facts, width: size("width"), height: size("height"), length: value(lengthName), overlap: value("overlap"),
    rate: facts?.fps ?? value("fps"), additional: facts?.additional ?? 0,
  };
  if (!Number.isInteger(given.length + given.overlap)) return { problems: [], lines: ["A length is computed in the run."] };
  const wrongLength = problem(plan.lengthProblem(given.length), lengthName);
  const wrongOverlap = wrongLength.length ? [] : problem(plan.overlapProblem(given.overlap, given.length), "overlap");
  const problems = [...(encoded ? sizeProblems(reference, "reference") : []), ...wrongLength, ...wrongOverlap];
  try {
    const lines = problems.length ? { lines: [] } : alone ? oneSegment(node, given) : wholeVideo(given);
    return { problems, ...lines };
  } catch (error) {
    return { problems: [{ text: error.message, choices: [] }], lines: [] };
  }
}

function wholeVideo(given) {
  const { value, facts, length, overlap, rate } = given;
  const written = value("scene_cuts")?.trim() ?? "", find = written === "find";
  const cuts = find ? facts?.found_cuts ?? [] : plan.parseCuts(written, rate);
  if (!facts) return { lines: [`${sizeText(given)}segments of ${length}, overlap ${overlap}. Frames: ${LATER}.`,
    costs(given, [length])] };
  const segments = plan.planScenes(facts.frames, cuts, length, overlap, value("lengths"));
  const unsure = find && !facts.found_cuts ? ` Scene cuts: ${LATER}.` : "";
  return {
    lines: [`${sizeText(given)}${framesText(given)}: ${plan.planText(segments)}.${unsure}`,
      costs(given, segments.map((segment) => segment.length))],
    bar: pieces(segments, rate), hatched: segments.some((segment) => segment.overlap),
  };
}

function oneSegment(node, given) {
  const { value, facts, length, rate } = given;
  const overlap = sourceOf(node, "previous_frames") ? given.overlap : 0;
  const from = value("start_frame"), start = from - overlap, end = facts?.frames ?? Infinity;
  if (start < 0) throw new Error(`start_frame is ${from}, but the ${overlap} frames before it are taken over: raise it.`);
  if (from >= end) throw new Error(`start_frame is ${from}, but the driving video has ${end} frames: lower it.`);
  const stop = Math.min(start + length, end), frames = plan.paddedLength(stop - start);
  const text = `new frames ${from} to ${stop - 1}, ${overlap ? `${overlap} taken over, ` : ""}${frames} in all`;
  const rest = (start, stop) => (start < stop ? [{ frames: stop - start, other: true, label: place(start, stop, rate) }] : []);
  return {
    lines: [facts ? `${sizeText(given)}${framesText(given)}: ${text}.` : `${sizeText(given)}${text}; the video's end: ${LATER}.`,
      costs(given, [frames])],
    bar: facts && [...rest(0, start), { ...pieces([{ start, stop, length: frames, overlap }], rate)[0], name: "" },
      ...rest(stop, end)],
    hatched: overlap > 0,
  };
}

/** Memory, and time where the pace of this machine is known. */
function costs({ width, height, additional, value }, lengths) {
  if (!width || !height) return `Memory: ${LATER}.`;
  const { gpu_bytes: gpu = 0, weight_bytes: weights = 0, model = plan.MODEL, pace, coder_pace: coderPace } = machine;
  const longest = Math.max(...lengths), tokens = plan.tokenCount(width, height, longest, additional);
  const activations = plan.activationBytes(model.dim, tokens, 1, gpu), whole = weights + activations;
  const fits = weights && (!gpu || whole <= gpu);
  const memory = `About ${gib(fits ? whole : activations)} of GPU memory${fits ? "" : " beside the weights"}`
    + (gpu ? `${fits || !weights ? "" : ", which come and go"} (this GPU has ${gib(gpu)})` : "");
  if (!pace) return `${memory}; time: ${LATER}.`;
  const steps = value("steps"), guidance = value("guidance");
  if (!steps) return `${memory}, ${plan.duration(pace * plan.forwardSeconds(model, tokens))} a forward pass.`;
  const time = (lengths) => plan.duration(
    plan.videoSeconds(model, { width, height, additional, lengths, steps, guidance }, pace, coderPace));
  return `${memory}, ${time([longest])} a segment${lengths.length > 1 ? `, ${time(lengths)} in all` : ""}.`;
}

const gib = (bytes) => `${Math.max(bytes / plan.GIB, 0.1).toFixed(bytes < 10 * plan.GIB ? 1 : 0)} GiB`;

const sizeText = ({ width, height }) => (width && height ? `${width}×${height}, ` : "");

function framesText({ facts: { frames }, rate }) {
  if (!rate) return `${frames} frames`;
  const fps = plan.framesPerSecond(rate);
  return `${frames} frames at ${Number(fps.toFixed(2))} fps (${(frames / fps).toFixed(1)} s)`;
}

/** What a bar has of each segment: up to where the next one takes over. */
function pieces(segments, rate) {
  return segments.map(({ start, stop, length, overlap }, index) => {
    const next = segments[index + 1], padding = length - (stop - start), cut = index > 0 && !overlap;
    const more = [overlap && `the first ${overlap} taken over`, cut && "a new scene", padding && `filled up to ${length}`];
    return {
      name: index + 1, label: [`Segment ${index + 1}: ${place(start, stop, rate)}`, ...more.filter(Boolean)].join(", "),
      frames: (next?.overlap ? next.start : stop) - start, overlap, padding: next?.overlap ? 0 : padding, cut,
    };
  });
}

function place(start, stop, rate) {
  const time = (frames) => (frames / plan.framesPerSecond(rate)).toFixed(1);
  return `frames ${start} to ${stop - 1}${rate ? ` (${time(start)} to ${time(stop)} s)` : ""}`;
}

// How it is shown

/** The bar, and a line that tells of the segment under the pointer or the keyboard's focus. */
function barOf(bar, hint) {
  const told = element("div", { class: "scail2-plan-told", text: hint });
  const tell = (text) => () => { told.textContent = text; };
  const items = bar.map(({ name, label, frames, overlap, padding = 0, cut, other }, index) => {
    const part = (kind, count) => (count
      ? element("i", { class: `scail2-plan-${kind}`, style: `width: ${100 * count / (frames + padding)}%` }) : null);
    return element("div", {
      class: `scail2-plan-piece${cut ? " scail2-plan-cut" : ""}${other ? " scail2-plan-other" : ""}`,
      role: "listitem", tabindex: index ? -1 : 0, "aria-label": label, title: label, style: `flex-grow: ${frames + padding}`,
      onfocus: tell(label), onblur: tell(hint), onpointerenter: tell(label), onpointerleave: tell(hint),
    }, part("overlap", overlap), part("padding", padding), element("span", { text: name }));
  });
  return [element("div", { class: "scail2-plan-bar", role: "list", onkeydown: (event) => move(event, items) }, items), told];
}

function move(event, items) {
  const at = items.indexOf(event.target), last = items.length - 1;
  const to = { ArrowRight: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  items[at].tabIndex = -1;
  items[to].tabIndex = 0;
  items[to].focus();
}
