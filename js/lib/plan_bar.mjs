// The plan of a video on the nodes that make it: size, frames, segments, memory and time as lines, and the segments as a
// bar. The server works it out.
import { element } from "./dom.mjs";
import { sourceOf } from "./graph.mjs";
import { attach as attachFacts, machineOf, videoOf } from "./plan_facts.mjs";
import { livePanel, valuesOf } from "./plan_panel.mjs";

const WIDGETS = ["segment_length", "length", "overlap", "lengths", "scene_cuts", "fps", "steps", "guidance", "start_frame",
  "plan", "remake", "remake_scope", "remake_seed", "rate", "draft", "plate"];
const HINT = "hatched: taken over from the segment before";
const LANES = "below: one colour for each GPU";
const BOTH = `hatched: taken over; ${LANES}`; // as much as a line holds

export function attach(node) {
  attachFacts(node);
  livePanel(node, WIDGETS, () => question(node), "scail2_plan", "Plan of the segments", { more: ({ pieces }) =>
    (pieces.length ? barOf(pieces, hintOf(pieces)) : []) });
}

function question(node) {
  const reference = sourceOf(node, "reference");
  return {
    node: node.comfyClass, values: valuesOf(node, WIDGETS),
    size: reference?.comfyClass === "SCAIL2EncodeReference" ? valuesOf(reference, ["width", "height"]) : {},
    continued: sourceOf(node, "previous_frames") !== null, video: videoOf(node), machine: machineOf(node),
  };
}

function hintOf(pieces) {
  const hatched = pieces.some(({ overlap }) => overlap), lanes = pieces.some(({ lane }) => lane !== null);
  return hatched && lanes ? BOTH : hatched ? HINT : lanes ? LANES : "\u00a0";
}

/** The bar, and a line that tells of the segment under the pointer or the keyboard's focus. */
function barOf(pieces, hint) {
  const told = element("div", { class: "scail2-plan-told", text: hint });
  const tell = (text) => () => { told.textContent = text; };
  const items = pieces.map(({ name, label, shown, overlap, padding, cut, changed, remade, other, lane }, index) => {
    const part = (kind, count) => (count
      ? element("i", { class: `scail2-plan-${kind}`, style: `width: ${100 * count / (shown + padding)}%` }) : null);
    return element("div", {
      class: `scail2-plan-piece${cut ? " scail2-plan-cut" : ""}${other ? " scail2-plan-other" : ""}`,
      role: "listitem", tabindex: index ? -1 : 0, "aria-label": label, title: label, style: `flex-grow: ${shown + padding}`,
      onfocus: tell(label), onblur: tell(hint), onpointerenter: tell(label), onpointerleave: tell(hint),
    }, part("overlap", overlap), part("padding", padding),
    lane === null ? null : element("i", { class: "scail2-plan-lane", style: `--lane: ${lane}` }),
    element("span", { text: [name, changed && "✎", remade && "↻"].filter(Boolean).join(" ") }));
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
