// Ways through a graph, subgraphs included.

/** The node whose output arrives at an input of `node`, past reroutes and out of subgraphs; null if there is none. */
export function sourceOf(node, input) {
  const index = node.inputs?.findIndex((slot) => slot.name === input) ?? -1;
  const found = index < 0 ? null : node.getInputNode?.(index);
  return found ?? null;
}

/** The node behind an execution id, such as "213:114" for one in a subgraph; undefined if there is none. */
export function nodeAt(app, executionId) {
  let graph = app.rootGraph ?? app.graph, node;
  for (const id of String(executionId).split(":")) {
    node = graph?.getNodeById(id);
    graph = node?.subgraph;
  }
  return node ?? undefined;
}
