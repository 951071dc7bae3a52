// The nearest sizes, where one is no multiple of 32; and news of every change for the plans that depend on it.
import { holderOf } from "./graph.mjs";
import { sizeProblem } from "./plan.mjs";
import { live } from "./plan_facts.mjs";
import { livePanel, problem } from "./plan_panel.mjs";

export function attach(node) {
  const look = () => {
    const problems = sizeProblems(node);
    return { problems, lines: problems.length ? [] : ["Width and height are multiples of 32."] };
  };
  livePanel(node, ["width", "height"], look, "scail2_size", "Sizes that fit", { tell: () => live.forEach((hear) => hear()) });
}

/** at: the input behind which the node is, for a panel of another node. */
export function sizeProblems(node, at) {
  return ["width", "height"].flatMap((name) => {
    const value = holderOf(node, name)?.widget.value;
    return value === undefined ? [] : problem(sizeProblem(name, value), name, at);
  });
}
