// A panel that shows the server's plan after every change: problems with buttons that mend them, lines of text, and
// whatever else.
import { asker } from "./ask.mjs";
import { after, element, hearWidgets, panel, setWidgets } from "./dom.mjs";
import { holderOf, sourceOf } from "./graph.mjs";
import { live } from "./plan_facts.mjs";

/**
 * Ask `question()` after every change of these widgets, and show the answer: {problems, lines, ...}, from which `more`
 * makes further elements. With `tell`, which others then hear of it, only from a problem on.
 */
export function livePanel(node, names, question, name, label, { more, tell } = {}) {
  let drawn = null, shown = null, waiting = false, gone = false;
  const note = element("div", { class: "scail2-plan-note", role: "status" });

  function inside() {
    if (!drawn) {
      drawn = panel(node, name, label, "scail2-plan");
      drawn.inside.addEventListener("pointerenter", refresh);
    }
    return drawn.inside;
  }

  const send = asker("/scail2/plan", {
    answered(plan) {
      const now = JSON.stringify(plan);
      if (gone || (tell && !drawn && !plan.problems.length) || (now === shown && note.textContent === "")) return;
      shown = now;
      note.textContent = "";
      inside().replaceChildren(...plan.problems.map((one) => problemLine(node, one)),
        ...plan.lines.map((text) => element("div", { text })), ...(more?.(plan) ?? []), note);
      drawn.resize();
    },
    failed(sentence) {
      if (gone || (tell && !drawn)) return;
      note.textContent = shown === null ? sentence : `${sentence} This is the last plan that it gave.`;
      inside().append(note);
      drawn.resize();
    },
    busy: (yes) => drawn?.inside.setAttribute("aria-busy", String(yes)),
  });

  const draw = () => {
    waiting = false;
    if (!gone && node.graph) send(question());
  };
  // once for many changes, and only when a workflow that is being opened has all its nodes
  function refresh() {
    if (!waiting) setTimeout(draw);
    waiting = true;
  }
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

/** Values of widgets by their names, without those that only a run computes. */
export function valuesOf(node, names) {
  return Object.fromEntries(names.map((name) => [name, holderOf(node, name)?.widget.value])
    .filter(([, value]) => value !== undefined));
}

function problemLine(node, { text, choices, input, at }) {
  const set = (choice) => () => {
    const { node: owner, widget } = holderOf(at ? sourceOf(node, at) : node, input);
    setWidgets(owner, { [widget.name]: choice });
  };
  return element("div", { class: "scail2-plan-problem" }, element("span", { text, role: "alert" }), choices.map((choice) =>
    element("button", { type: "button", text: choice, "aria-label": `Set ${input} to ${choice}`, onclick: set(choice) })));
}
