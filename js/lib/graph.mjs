// Ways through a graph, subgraphs included.

/** The node whose output arrives at an input of `node`, past reroutes and out of subgraphs; null if there is none. */
export function sourceOf(node, input) {
  const index = node.inputs?.findIndex((slot) => slot.name === input) ?? -1;
  const found = index < 0 ? null : node.getInputNode?.(index);
  return found ?? null;
}
