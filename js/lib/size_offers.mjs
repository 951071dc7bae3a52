// The nearest sizes, where one is not a multiple of 32; and news of every change for the plans that depend on it.
import { refreshAll } from "./plan_facts.mjs";
import { livePanel, valuesOf } from "./plan_panel.mjs";

const SIZE = ["width", "height"];

export function attach(node) {
  const question = () => ({ node: node.comfyClass, values: {}, size: valuesOf(node, SIZE), continued: false, video: null,
    machine: {} });
  livePanel(node, SIZE, question, "scail2_size", "Sizes that fit", { tell: refreshAll });
}
