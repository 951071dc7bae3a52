// Ways through a graph, subgraphs included.
import { app } from "../../../scripts/app.js";

const MUTED = 2, BYPASSED = 4;

/** The node whose output arrives at an input of `node`, past reroutes and out of subgraphs; null if there is none. */
export function sourceOf(node, input) {
  return originOf(node, input)?.node ?? null;
}

/** {node, widget} that holds the number or text of an input of `node`; null if it is computed. */
export function holderOf(node, input) {
  if (!linked(node, input)) return held(node, node.widgets?.find((widget) => widget.name === input));
  const origin = originOf(node, input);
  if (!origin) return null;
  return origin.widget ? origin : held(origin.node, /^Primitive/.test(origin.node.type) && origin.node.widgets?.[0]);
}

/** Whether the value of an input, or of a widget, comes from another node. */
export function linked(node, name) {
  return linkInto(node, indexOf(node, name)) !== null;
}

/** All that decides what arrives at an input, as far as the page knows it, as a text. */
export function signature(node, input, seen = new Set()) {
  const source = sourceOf(node, input);
  if (!source || seen.has(source)) return "";
  seen.add(source);
  const values = (source.widgets ?? []).filter((widget) => widget.serialize !== false).map((widget) => widget.value);
  return JSON.stringify([source.type, values, (source.inputs ?? []).map((slot) => signature(source, slot.name, seen))]);
}

const indexOf = (node, input) => node.inputs?.findIndex((slot) => slot.name === input) ?? -1;

/** The link into an input; null if there is none. A subgraph's node answers for its inside when it is asked itself. */
function linkInto(node, index) {
  if (!node.graph || index < 0) return null;
  return window.LiteGraph.LGraphNode.prototype.getInputLink.call(node, index) ?? null;
}

function held(node, widget) {
  return widget ? { node, widget } : null;
}

/** {node, slot} of the output that arrives at an input, or {node, widget} of a subgraph's node; null for nothing. */
function originOf(node, input) {
  return fromInput(node, indexOf(node, input), 0);
}

function fromInput(node, index, depth) {
  const { graph } = node, link = linkInto(node, index);
  if (!link || depth > 100) return null;
  if (!link.originIsIoNode) return fromOutput(graph.getNodeById(link.origin_id), link.origin_slot, link.type, depth + 1);
  const outer = instanceOf(graph);
  const slot = outer?.inputs[link.origin_slot];
  if (!slot) return null;
  return linkInto(outer, link.origin_slot) ? fromInput(outer, link.origin_slot, depth + 1)
    : held(outer, outer.getWidgetFromSlot?.(slot));
}

function fromOutput(node, slot, type, depth) {
  if (!node || node.mode === MUTED) return null;
  if (node.mode === BYPASSED) return fromInput(node, node.inputs.findIndex((input) => input.type === type), depth);
  if (node.isSubgraphNode?.()) {
    const inner = node.subgraph.getLink(node.subgraph.outputs[slot]?.linkIds[0]);
    return inner ? fromOutput(node.subgraph.getNodeById(inner.origin_id), inner.origin_slot, type, depth + 1) : null;
  }
  const elsewhere = node.isVirtualNode && node.resolveVirtualOutput?.(slot);
  if (elsewhere) return fromOutput(elsewhere.node, elsewhere.slot, type, depth + 1);
  return node.isVirtualNode && node.inputs?.length ? fromInput(node, 0, depth + 1) : { node, slot };
}

/** The node that stands for a subgraph; of several, the first. */
function instanceOf(graph) {
  const root = graph.rootGraph;
  return [root, ...root.subgraphs.values()].flatMap((place) => place.nodes).find((node) => node.subgraph === graph);
}

/** The node of an execution id, such as "213:114" for one in a subgraph; undefined if there is none. */
export function nodeAt(executionId) {
  let graph = app.rootGraph, node;
  for (const id of String(executionId).split(":")) {
    node = graph?.getNodeById(id);
    graph = node?.subgraph;
  }
  return node ?? undefined;
}
