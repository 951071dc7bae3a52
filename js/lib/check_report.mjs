// The report of Check SCAIL-2 Inputs: errors, warnings and facts, each with a way to the input that it is about.
import { app } from "../../../scripts/app.js";
import { element, onExecuted, panel, settled } from "./dom.mjs";
import { sourceOf } from "./graph.mjs";

const HEADINGS = { error: "Errors", warning: "Warnings", fact: "Facts" };
const MARKS = { error: "✕", warning: "!", fact: "i" };

export function attach(node) {
  let drawn = null;
  onExecuted(node, (output) => {
    const findings = output?.scail2_findings;
    if (!findings) return;
    drawn ??= panel(node, "scail2_report", "What the check has found", "scail2-report");
    drawn.inside.replaceChildren(...lists(findings, (finding) => jump(node, finding.input)));
    drawn.resize();
  });
}

function lists(findings, jumpTo) {
  return Object.entries(HEADINGS).flatMap(([level, heading]) => {
    const chosen = findings.filter((finding) => finding.level === level);
    if (!chosen.length) return [];
    const items = chosen.map((finding) => line(finding, jumpTo));
    const title = element("summary", { text: `${heading} (${chosen.length})` });
    // facts are many, and seldom what one looks for
    return element("details", { open: level !== "fact", class: `scail2-${level}` }, title, element("ul", {}, items));
  });
}

function line(finding, jumpTo) {
  const mark = element("span", { class: "scail2-mark", "aria-hidden": "true", text: MARKS[finding.level] });
  const text = element("span", { text: finding.text });
  const button = finding.input && element("button", {
    type: "button", text: "show", title: `Show what is connected to ${finding.input}`, onclick: () => jumpTo(finding),
  });
  return element("li", {}, mark, text, button || null);
}

/** Select and centre the node whose output arrives at an input, or this node for a widget of its own, in its graph. */
async function jump(node, input) {
  const { canvas } = app;
  const target = sourceOf(node, input) ?? node;
  canvas.setGraph(target.graph);
  // before that the click selects this node, and a graph that is opened for the first time is fitted into the window
  await settled();
  canvas.selectNode?.(target);
  canvas.centerOnNode(target);
}
