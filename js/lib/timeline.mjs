// The segments of Sample SCAIL-2 Video: how far a run is, what is finished, and forms that change one segment.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { element, panel, setWidgets, widgetOf } from "./dom.mjs";
import { linked, nodeAt } from "./graph.mjs";
import { segmentOf, withRemake, withSegment } from "./plan_text.mjs";
import { duration, follow, share, summary } from "./runs.mjs";

const EVENT = "scail2.progress";
const FINISHED = ["done", "kept"];
const MARKS = { waiting: "…", kept: "✓", done: "✓" };
const SEAMS = { good: "seam good", visible: "! seam visible", strong: "!! seam strong", "not judged": "seam not judged" };
const ONLY = "only these"; // of remake_scope

const timelines = new WeakMap(); // by node
let runs = null;

/** Show a node what is known of it, and what comes. */
export function attach(node) {
  runs ??= listen();
  setTimeout(() => runs.known().forEach((run) => show(run, node))); // when it has its place in the graph
}

/** Once for a page. Nodes have no listeners, because many are made that never come into a graph, nor are removed. */
function listen() {
  const found = follow(async () => (await (await api.fetchApi("/scail2/progress")).json()).runs, (run) => show(run));
  api.addEventListener(EVENT, ({ detail }) => found.hear(detail));
  api.addEventListener("reconnected", found.renew);
  found.renew();
  return found;
}

function show(run, wanted = null) {
  const node = nodeAt(run.node);
  if (node?.comfyClass !== "SCAIL2SampleVideo" || node !== (wanted ?? node) || !isOurs(run)) return;
  if (!timelines.has(node)) timelines.set(node, timeline(node));
  timelines.get(node).show(run);
}

/** Whether a run is of the workflow on the page; a program's call names none, and a page of a new graph only zeros. */
function isOurs({ workflow }) {
  return !workflow || /^[0-]+$/.test(workflow) || workflow === app.rootGraph.id;
}

function timeline(node) {
  const bar = element("progress", { max: "1", "aria-label": "The whole video" });
  const line = element("span", { class: "scail2-line" });
  const row = element("div", { class: "scail2-row", role: "group", "aria-label": "Segments" });
  const video = element("video", { controls: true, hidden: true, "aria-label": "The finished part" });
  const play = element("button", { type: "button", onclick: toggle, "aria-expanded": "false", hidden: true });
  const below = element("div");
  const { inside } = panel(node, "scail2_timeline", "Segments of the video", "scail2-timeline");
  inside.append(element("div", { class: "scail2-head" }, bar, line, play), row, video, below);
  let blocks = [], shown = null, opened = null, playing = 0;

  video.addEventListener("ended", () => start(playing + 1));
  video.addEventListener("error", () => {
    if (video.hidden) return;
    line.textContent = "The browser cannot play this codec; the job folder has the files.";
  });

  function parts() {
    const end = shown.segments.findIndex(({ part }) => !part);
    return shown.segments.slice(0, end < 0 ? undefined : end).map(({ part }) => part);
  }

  function start(index) {
    const part = parts()[index];
    if (!part) return;
    playing = index;
    video.src = api.apiURL(`/view?${new URLSearchParams(part)}`);
    video.play().catch(() => {}); // what cannot be played raises an error event too
  }

  function toggle() {
    const showing = video.hidden;
    video.hidden = !showing;
    if (showing) start(0);
    else video.removeAttribute("src"), video.load();
    label();
  }

  function label() {
    play.hidden = !parts().length;
    play.setAttribute("aria-expanded", String(!video.hidden));
    play.textContent = video.hidden ? "Play the finished part" : "Close";
  }

  function open(index) {
    opened = opened === index ? null : index;
    below.replaceChildren(...(opened === null ? [] : [form(node, index, shown.segments[index], () => open(index))]));
    for (const [at, block] of blocks.entries()) block.opened(at === opened);
    below.querySelector("input")?.focus({ preventScroll: true });
  }

  return {
    show(run) {
      const another = shown?.prompt_id !== run.prompt_id || blocks.length !== run.segments.length;
      shown = run;
      if (another) {
        if (opened !== null) open(opened);
        blocks = run.segments.map((_, index) => makeBlock(index, () => open(index)));
        row.replaceChildren(...blocks.map((block) => block.root));
      }
      inside.dataset.state = run.state;
      bar.value = run.state === "done" ? 1 : share(run);
      line.textContent = summary(run);
      for (const [index, block] of blocks.entries()) block.show(run.segments[index], run.state);
      label();
    },
  };
}

/** One segment: its picture, its state, its seconds, the verdict on the seam before it. */
function makeBlock(index, onclick) {
  const picture = element("img", { alt: "", hidden: true });
  const [state, more, seam] = [element("span"), element("span"), element("span", { class: "scail2-seam" })];
  const bar = element("progress", { "aria-hidden": "true" });
  const root = element("button", { type: "button", class: "scail2-block", "aria-expanded": "false", onclick },
    picture, element("b", { text: String(index + 1) }), state, more, seam, bar);
  return {
    root,
    opened: (yes) => root.setAttribute("aria-expanded", String(yes)),
    show(segment, run) {
      const finished = FINISHED.includes(segment.state);
      const stopped = !finished && segment.state !== "waiting" && ["cancelled", "failed"].includes(run);
      const name = stopped ? "stopped" : segment.state;
      const seconds = segment.seconds === null ? "" : duration(segment.seconds);
      root.dataset.state = name;
      root.disabled = !finished;
      root.style.flexGrow = segment.stop - segment.start;
      picture.hidden = !segment.thumbnail;
      if (segment.thumbnail && picture.src !== segment.thumbnail) picture.src = segment.thumbnail;
      state.textContent = name === "kept" ? "✓ kept" : MARKS[name] ? `${MARKS[name]} ${name}` : name;
      more.textContent = [seconds, segment.place].filter(Boolean).join(" · ");
      seam.textContent = SEAMS[segment.seam] ?? "";
      seam.dataset.seam = segment.seam ?? "";
      bar.hidden = finished;
      bar.max = segment.steps;
      bar.value = segment.state === "writing" ? segment.steps : segment.step;
      const frames = `frames ${segment.start + segment.overlap} to ${segment.stop - 1}`;
      const place = segment.place ? `on ${segment.place}` : "";
      const about = [`Segment ${index + 1}`, frames, name, place, seconds, seam.textContent].filter(Boolean).join(", ");
      root.setAttribute("aria-label", about);
      root.title = finished ? `${about}. Click to change it.` : about;
    },
  };
}

/** What can be changed in one segment. Everything goes into the node's own widgets. */
function form(node, index, segment, close) {
  const number = index + 1;
  const value = (name) => widgetOf(node, name)?.value;
  const told = element("output", { class: "scail2-told" });
  const input = (properties) => element("input", { type: "text", inputmode: "numeric", ...properties });

  const again = input({ value: String(BigInt(value("remake_seed")) + 1n), "aria-label": "Seed for remake" });
  const scope = element("select", { "aria-label": "What is made again" },
    (widgetOf(node, "remake_scope").options.values).map((text) => element("option", { text, value: text })));
  scope.value = value("remake_scope");

  let own = { prompt: "", seed: "", only: false }, unread = "";
  try {
    own = segmentOf(value("plan"), number);
  } catch (error) {
    unread = error.message;
  }
  const seed = input({ value: own.seed, placeholder: "as the video", "aria-label": "Seed in the plan" });
  const prompt = element("textarea", { rows: "3", placeholder: "as the video", "aria-label": "Prompt in the plan" });
  prompt.value = own.prompt;
  const only = element("input", { type: "checkbox" });
  only.checked = own.only;
  told.textContent = unread;

  const write = (changes, done) => (event) => {
    event.preventDefault();
    try {
      const values = changes();
      for (const name of Object.keys(values)) {
        if (linked(node, name)) throw new Error(`${name} is connected to another node: change it there.`);
      }
      setWidgets(node, values);
      told.textContent = `Written to ${done}. Queue the graph to have it made.`;
    } catch (error) {
      told.textContent = error.message;
    }
  };
  const remake = write(() => withRemake({
    plan: value("plan"), remake: value("remake"), remake_seed: value("remake_seed"), only: value("remake_scope") === ONLY,
  }, number, { seed: again.value.trim(), scope: scope.value }), "remake");
  const change = write(() => ({ plan: withSegment(value("plan"), number, {
    prompt: prompt.value.trim(), seed: seed.value.trim(), only: only.checked,
  }) }), "the plan");

  const title = (text) => element("b", { class: "scail2-wide", text });
  return element("div", { class: "scail2-form", role: "group", "aria-label": `Segment ${number}` },
    element("form", { onsubmit: remake },
      title(`Make segment ${number} again`),
      element("label", {}, "Seed ", again), element("label", {}, "Scope ", scope),
      element("button", { text: "Make it again" })),
    element("form", { onsubmit: change },
      title(`Change segment ${number}`),
      element("label", {}, "Seed ", seed), element("label", {}, only, " only this segment"),
      element("label", { class: "scail2-wide" }, "Prompt ", prompt),
      element("button", { text: "Write to the plan" })),
    element("div", { class: "scail2-head" }, told,
      element("button", { type: "button", text: "Close", onclick: close })));
}
