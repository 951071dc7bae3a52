// The plan of a video on the nodes that make it: size, frames, segments, memory and time as a line, and the segments as
// a bar. What only a run knows (the driving video's frames, the GPU) comes with a node's ui output `scail2_plan`.
import { after, element, hearWidgets, onExecuted, panel, setWidget } from "./dom.mjs";
import { holderOf, signature, sourceOf } from "./graph.mjs";
import {
  GIB, MODEL, activationBytes, duration, forwardSeconds, framesPerSecond, lengthProblem, overlapProblem, paddedLength,
  parseCuts, planScenes, planText, sizeProblem, tokenCount, vaeBytes, videoSeconds,
} from "./plan.mjs";

const WIDGETS = ["segment_length", "length", "overlap", "lengths", "scene_cuts", "fps", "steps", "guidance", "start_frame"];
const live = new Set(); // refreshes of all panels, for what changes on another node
const videos = new Map(); // by all that decides a driving video: what a run told of it
let machine = {}; // what runs told of GPU and model

/** Hear what a node's runs tell of the driving video and the machine. */
export function attachPlanFacts(node) {
  onExecuted(node, (output) => {
    const facts = output?.scail2_plan?.[0];
    if (!facts) return;
    videos.set(signature(node, "driving"), facts);
    const told = ["gpu_bytes", "weight_bytes", "model", "pace"].filter((name) => facts[name] != null);
    machine = { ...machine, ...Object.fromEntries(told.map((name) => [name, facts[name]])) };
    for (const refresh of live) refresh();
  });
}

/** The nearest sizes, if one is no multiple of 32; and news of every change for the plans that depend on it. */
export function attachSizeOffers(node, { app }) {
  const look = () => {
    const problems = sizeProblems(node);
    return { problems, lines: problems.length ? [] : ["Width and height are multiples of 32."], quiet: !problems.length };
  };
  attach(app, node, ["width", "height"], look, "scail2_size", "Sizes that fit", () => live.forEach((hear) => hear()));
}

/** The line and the bar. */
export function attachPlanBar(node, { app }) {
  attachPlanFacts(node);
  attach(app, node, WIDGETS, () => view(node), "scail2_plan", "Plan of the segments");
}

function attach(app, node, names, look, name, label, tell) {
  let drawn = null, shown = null, waiting = false, gone = false;
  const draw = () => {
    waiting = false;
    const found = gone || !node.graph ? null : look();
    const now = JSON.stringify(found);
    if (!found || now === shown || (found.quiet && !drawn)) return;
    shown = now;
    if (!drawn) {
      const inside = element("div", { class: "scail2-plan", onpointerenter: refresh });
      drawn = { inside, ...panel(node, name, label, { height: () => inside.offsetHeight + 28 }) };
      drawn.root.append(inside);
    }
    drawn.inside.replaceChildren(...contents(app, node, found));
    drawn.resize();
  };
  // once for many changes, and only when a workflow that is being opened has all its nodes
  const refresh = () => {
    if (!waiting) setTimeout(draw);
    waiting = true;
  };
  const changed = () => [refresh, tell].forEach((call) => call?.());
  const release = hearWidgets(node, names, changed);
  for (const hook of ["onAdded", "onConfigure", "onConnectionsChange"]) after(node, hook, changed);
  after(node, "onRemoved", () => {
    gone = true;
    live.delete(refresh);
    release();
  });
  live.add(refresh);
  refresh();
}

// What is to be shown, as plain data

function view(node) {
  const value = (name) => holderOf(node, name)?.widget.value;
  const reference = sourceOf(node, "reference");
  const facts = videos.get(signature(node, "driving"));
  const from = (name) => (reference?.comfyClass === "SCAIL2EncodeReference"
    ? holderOf(reference, name)?.widget.value : null) ?? facts?.[name];
  const lengthName = node.comfyClass === "SCAIL2MotionTransfer" ? "length" : "segment_length";
  const given = {
    facts, width: from("width"), height: from("height"), length: value(lengthName), overlap: value("overlap"),
    rate: facts?.fps ?? value("fps"), value, additional: facts?.additional ?? 0,
    goesOn: sourceOf(node, "previous_frames") !== null,
  };
  if (![given.length, given.overlap].every(Number.isInteger)) {
    return { problems: [], lines: ["The plan is known in the run: a length is computed."] };
  }
  const problems = [
    ...(reference ? sizeProblems(reference, "reference") : []),
    ...problem(lengthProblem(given.length), lengthName),
  ];
  if (!problems.some((found) => found.input === lengthName)) {
    problems.push(...problem(overlapProblem(given.overlap, given.length), "overlap"));
  }
  for (const found of problems) found.text = found.text.replace("segment_length", lengthName);
  if (problems.length) return { problems, lines: [] };
  try {
    return { problems, ...(lengthName === "length" ? oneSegment(given) : wholeVideo(given)) };
  } catch (error) {
    return { problems: [{ text: error.message, choices: [] }], lines: [] };
  }
}

function sizeProblems(node, at = null) {
  return ["width", "height"].flatMap((name) => {
    const value = holderOf(node, name)?.widget.value;
    return Number.isInteger(value) ? problem(sizeProblem(name, value), name, at) : [];
  });
}

const problem = (found, input, at = null) => (found ? [{ ...found, input, at }] : []);

function wholeVideo({ facts, length, overlap, rate, value, ...given }) {
  const cutsText = value("scene_cuts")?.trim() ?? "";
  const find = cutsText === "find";
  const cuts = find ? facts?.found_cuts ?? [] : parseCuts(cutsText, rate);
  const settings = { ...given, steps: value("steps"), guidance: value("guidance") };
  if (!facts) {
    return { lines: [
      `${sizeText(given)}segments of ${length}, overlap ${overlap}. Frames: known after the first run or check.`,
      costs({ ...settings, lengths: [length] }),
    ] };
  }
  const segments = planScenes(facts.frames, cuts, length, overlap, value("lengths"));
  const unsure = find && !facts.found_cuts ? " Scene cuts are not found yet." : "";
  return {
    lines: [`${sizeText(given)}${framesText(facts.frames, rate)}: ${planText(segments)}.${unsure}`,
      costs({ ...settings, lengths: segments.map((segment) => segment.length) }, true)],
    bar: pieces(segments, rate), hint: overlap && segments.some((segment) => segment.overlap),
  };
}

function oneSegment({ facts, length, overlap, rate, value, goesOn, ...given }) {
  const start = value("start_frame"), taken = goesOn ? overlap : 0, first = start - taken;
  if (first < 0) throw new Error(`The segment starts at frame ${start} with ${taken} previous frames, which would be `
    + "before the video: start_frame counts the frames made already.");
  if (!facts) {
    const text = `${sizeText(given)}frames ${first} to ${first + length - 1}${taken ? `, the first ${taken} taken over` : ""}.`;
    return { lines: [`${text} Where the video ends is known after the first run or check.`,
      costs({ ...given, lengths: [length] })] };
  }
  if (start >= facts.frames) throw new Error(`The segment starts at frame ${start}, but the driving video ends after `
    + `${facts.frames} frames: lower start_frame, or stop here.`);
  const stop = Math.min(first + length, facts.frames);
  const segment = { start: first, stop, length: paddedLength(stop - first), overlap: taken };
  const rest = (from, to) => (from < to ? [{ frames: to - from, other: true, label: framesLabel(from, to, rate) }] : []);
  const piece = { ...pieces([segment], rate)[0], name: "", label: `This segment: ${label(segment, rate)}` };
  return {
    lines: [`${sizeText(given)}${framesText(facts.frames, rate)}: this segment makes ${start} to ${stop - 1}, `
      + `${segment.length} long${taken ? `, the first ${taken} taken over` : ""}.`,
    costs({ ...given, lengths: [segment.length] })],
    bar: [...rest(0, first), piece, ...rest(stop, facts.frames)], hint: taken > 0,
  };
}

/** Memory, and time where the pace of this machine is known. */
function costs(work, all = false) {
  const { width, height, additional, lengths, steps } = work;
  if (!width || !height) return "Memory: known with the size.";
  const { gpu_bytes: gpu = 0, weight_bytes: weights, model = MODEL, pace } = machine;
  const longest = Math.max(...lengths), tokens = tokenCount(width, height, longest, additional);
  const activations = activationBytes(model.dim, tokens, 1, gpu), vae = vaeBytes(width, height, longest);
  const gib = (bytes) => `${bytes < 10 * GIB ? Math.max(0.1, bytes / GIB).toFixed(1) : Math.round(bytes / GIB)} GiB`;
  const here = gpu ? ` (this GPU has ${gib(gpu)})` : "";
  const whole = Math.max((weights ?? 0) + activations, vae);
  const memory = weights && (!gpu || whole <= gpu) ? `about ${gib(whole)} of GPU memory${here}`
    : `about ${gib(activations)} of GPU memory beside the weights${gpu && weights ? ", which come and go" : ""}${here}`;
  if (!pace) return `${memory}; time: known after a run or check.`;
  if (!steps) return `${memory}, ${duration(pace * forwardSeconds(model, tokens))} a forward.`;
  const time = (frames) => duration(pace * videoSeconds(model, { ...work, lengths: frames }));
  const sum = all && lengths.length > 1 ? `, ${time(lengths)} in all` : "";
  return `${memory}, ${time([longest])} a segment${sum}.`;
}

const sizeText = ({ width, height }) => (width && height ? `${width}×${height}, ` : "");

function framesText(frames, rate) {
  if (!rate) return `${frames} frames`;
  const fps = framesPerSecond(rate);
  return `${frames} frames at ${Number(fps.toFixed(2))} fps (${(frames / fps).toFixed(1)} s)`;
}

/** What a bar has of each segment: up to where the next one takes over. */
function pieces(segments, rate) {
  return segments.map((segment, index) => {
    const next = segments[index + 1];
    return {
      name: String(index + 1), label: `Segment ${index + 1}: ${label(segment, rate)}`,
      frames: (next?.overlap ? next.start : segment.stop) - segment.start, overlap: segment.overlap,
      padding: next ? 0 : segment.length - (segment.stop - segment.start), cut: index > 0 && !segment.overlap,
    };
  });
}

function label({ start, stop, length, overlap }, rate) {
  const padding = length - (stop - start);
  return [framesLabel(start, stop, rate), overlap && `the first ${overlap} taken over`, start && !overlap && "a new scene",
    padding && `filled up to ${length}`].filter(Boolean).join(", ");
}

function framesLabel(start, stop, rate) {
  const time = (frames) => (frames / framesPerSecond(rate)).toFixed(1);
  return `frames ${start} to ${stop - 1}${rate ? ` (${time(start)} to ${time(stop)} s)` : ""}`;
}

// How it is shown

function contents(app, node, { problems, lines, bar, hint }) {
  return [
    ...problems.map((found) => problemLine(app, node, found)),
    ...lines.map((text) => element("div", { text })),
    ...(bar ? barOf(bar, hint ? "hatched: taken over from the segment before" : "") : []),
  ];
}

function problemLine(app, node, { text, choices, input, at }) {
  const host = () => holderOf(at ? sourceOf(node, at) : node, input);
  const buttons = input && host() ? choices.map((choice) => element("button", {
    type: "button", text: choice, "aria-label": `Set ${input} to ${choice}`, onclick: () => {
      const { node: owner, widget } = host();
      setWidget(app, owner, widget.name, choice);
    },
  })) : [];
  return element("div", { class: "scail2-plan-problem" }, element("span", { text, role: "alert" }), buttons);
}

/** The bar, and a line that tells of the segment under the pointer or the keyboard's focus. */
function barOf(bar, hint) {
  const told = element("div", { class: "scail2-plan-told", text: hint || "\u00a0" });
  const tell = (text) => () => { told.textContent = text || "\u00a0"; };
  const items = bar.map(({ name, label, frames, overlap, padding, cut, other }, index) => element("div", {
    class: ["scail2-plan-piece", cut && "scail2-plan-cut", other && "scail2-plan-other"].filter(Boolean).join(" "),
    role: "listitem", tabindex: index ? -1 : 0, "aria-label": label, title: label,
    style: `flex-grow: ${frames + (padding ?? 0)}`,
    onfocus: tell(label), onblur: tell(hint), onpointerenter: tell(label), onpointerleave: tell(hint),
  }, overlap ? hatched(overlap / (frames + padding), "scail2-plan-overlap") : null, element("span", { text: name ?? "" }),
  padding ? hatched(padding / (frames + padding), "scail2-plan-padding") : null));
  const list = element("div", { class: "scail2-plan-bar", role: "list", onkeydown: (event) => move(event, items) }, items);
  return [list, told];
}

const hatched = (share, name) => element("i", { class: name, style: `width: ${100 * share}%` });

function move(event, items) {
  const at = items.indexOf(document.activeElement), last = items.length - 1;
  const to = { ArrowRight: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  items[at].tabIndex = -1;
  items[to].tabIndex = 0;
  items[to].focus();
}
