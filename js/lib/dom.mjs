// Elements and panels. Nothing here knows a node of ours.
import { app } from "../../../scripts/app.js";

let styled = null;

/** Load the stylesheet once -> a promise that waits for it. */
export const stylesheet = (href) => styled ??= new Promise((done) => {
  document.head.append(element("link", { rel: "stylesheet", href, onload: done, onerror: done }));
});

/** An element with properties (class, text, aria-*, on*, data-*) and children; `null` children are left out. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const ROUND = 28; // CSS pixels above and below what is in a panel: the canvas' margin and its own
const NARROW = 120; // CSS pixels
let panels = 0;

/**
 * A panel under a node's widgets, which is not saved with the workflow and is as high as its content. Returns {inside, resize}:
 * fill `inside`, an element of the class `kind`, then call `resize`; it is called too when the height changes otherwise.
 */
export function panel(node, name, label, kind) {
  const inside = element("div", { class: kind });
  const root = element("div", { class: "scail2-panel", role: "region", "aria-label": label }, inside);
  // the canvas must not move or zoom by what is meant for the panel
  for (const event of ["pointerdown", "wheel", "keydown"]) root.addEventListener(event, (got) => got.stopPropagation());
  let height = 0, known = node.size[1];
  // out of sight it has none, and before it has its place in the page it is a narrow column
  const needed = () => (height = (inside.offsetWidth >= NARROW && inside.offsetHeight) || height) + ROUND;
  // a step of undo makes all nodes anew; with Nodes 2.0 a widget of the same name would go on showing the old element
  const widget = node.addDOMWidget(`${name}_${(panels += 1)}`, "scail2", root, {
    serialize: false, hideOnZoom: false, getMinHeight: needed, getMaxHeight: needed,
  });
  widget.serialize = false;
  async function resize() {
    const before = [known, node.size[1]];
    grow(node);
    await settled();
    known = node.size[1];
    amend(node, before);
  }
  new ResizeObserver(resize).observe(inside);
  return { inside, resize };
}

const hearers = new WeakMap(); // by node

/** Call `hear(output)` with what each run of a node says, and again when `retell` is called. */
export function onExecuted(node, hear) {
  hearers.set(node, [...(hearers.get(node) ?? []), hear]);
  const before = node.onExecuted;
  node.onExecuted = function (output, ...given) {
    const result = before?.call(this, output, ...given);
    hear(output);
    return result;
  };
}

/** Tell all nodes what the last runs said. The page makes them anew to undo a step, and to show another tab. */
export function retell(outputs) {
  const { rootGraph } = app;
  for (const graph of [rootGraph, ...rootGraph.subgraphs.values()]) {
    for (const node of graph.nodes) {
      const output = outputs[graph === rootGraph ? node.id : `${graph.id}:${node.id}`];
      if (output) hearers.get(node)?.forEach((hear) => hear(output));
    }
  }
}

/** Call `hear` after each change of these widgets by the user -> a function that ends it. */
export function hearWidgets(node, names, hear) {
  const undo = names.map((name) => widgetOf(node, name)).filter(Boolean).map((widget) => {
    const before = widget.callback;
    const heard = function (...given) {
      const result = before?.apply(this, given);
      hear();
      return result;
    };
    widget.callback = heard;
    return () => {
      if (widget.callback === heard) widget.callback = before;
    };
  });
  return () => undo.forEach((end) => end());
}

/** Call `hear` after a hook of a node, such as onConfigure. */
export function after(node, hook, hear) {
  const before = node[hook];
  node[hook] = function (...given) {
    const result = before?.apply(this, given);
    hear();
    return result;
  };
}

/** When the page has drawn what is changed now, with sizes that follow from it. */
export const settled = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));

/** A widget of a node by its input's name. */
export function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

/** Set widgets, name -> value, as if the user had: with their callbacks, and as one step of undo. */
export async function setWidgets(node, values) {
  const capture = () => tracker()?.captureCanvasState?.();
  capture(); // what is not counted yet is not of this step
  const changed = Object.entries(values).map(([name, value]) => [widgetOf(node, name), value])
    .filter(([widget, value]) => widget && widget.value !== value);
  for (const [widget, value] of changed) widget.value = value;
  // who hears of one must not see half of it
  for (const [widget, value] of changed) widget.callback?.(value, app.canvas, node);
  node.graph?.setDirtyCanvas?.(true, true);
  await settled(); // a size that changes later would be a step of its own
  capture();
}

const tracker = () => app.extensionManager?.workflow?.activeWorkflow?.changeTracker;

/** Put the height that a panel has given a node into the last step of undo: it would be a step of its own otherwise. */
function amend(node, heights) {
  const { graph } = node, state = tracker()?.activeState;
  if (graph?.getNodeById(node.id) !== node) return; // another workflow is shown
  const form = graph === app.rootGraph ? state : state?.definitions?.subgraphs?.find(({ id }) => id === graph.id);
  // of numbers in files, newer frontends make texts
  const saved = form?.nodes.find(({ id }) => String(id) === String(node.id));
  if (saved && saved.size[0] === node.size[0] && heights.includes(saved.size[1])) saved.size[1] = node.size[1];
}

function grow(node) {
  // the new renderer's nodes grow with what is in them
  if (!node.graph || window.LiteGraph.vueNodesMode) return;
  node.arrange();
  node.graph.setDirtyCanvas(true, true);
}
