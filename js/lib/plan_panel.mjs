// A panel that is right after every change: problems with buttons that mend them, lines of text, and whatever else.
import { after, element, hearWidgets, panel, setWidgets } from "./dom.mjs";
import { holderOf, sourceOf } from "./graph.mjs";
import { live } from "./plan_facts.mjs";

/** A problem as plan.mjs finds it, with the input that it is about, of the node behind the input `at` if there is one. */
export const problem = (found, input, at) => (
  found ? [{ ...found, text: found.text.replace("segment_length", input), input, at }] : []);

/**
 * Show what `look` finds after every change of these widgets: {problems, lines, ...}, or null; plain data, from which
 * `more` makes further elements. With `tell`, which others then hear of it, only from a problem on.
 */
export function livePanel(node, names, look, name, label, { more, tell } = {}) {
  let drawn = null, shown = null, waiting = false, gone = false;
  const draw = () => {
    waiting = false;
    const found = gone || !node.graph ? null : look();
    const now = JSON.stringify(found);
    if (!found || now === shown || (tell && !drawn && !found.problems.length)) return;
    shown = now;
    if (!drawn) {
      drawn = panel(node, name, label, "scail2-plan");
      drawn.inside.addEventListener("pointerenter", refresh);
    }
    drawn.inside.replaceChildren(...found.problems.map((one) => problemLine(node, one)),
      ...found.lines.map((text) => element("div", { text })), ...(more?.(found) ?? []));
    drawn.resize();
  };
  // once for many changes, and only when a workflow that is being opened has all its nodes
  const refresh = () => {
    if (!waiting) setTimeout(draw);
    waiting = true;
  };
  const changed = () => {
    refresh();
    tell?.();
  };
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

function problemLine(node, { text, choices, input, at }) {
  const set = (choice) => () => {
    const { node: owner, widget } = holderOf(at ? sourceOf(node, at) : node, input);
    setWidgets(owner, { [widget.name]: choice });
  };
  return element("div", { class: "scail2-plan-problem" }, element("span", { text, role: "alert" }), choices.map((choice) =>
    element("button", { type: "button", text: choice, "aria-label": `Set ${input} to ${choice}`, onclick: set(choice) })));
}
