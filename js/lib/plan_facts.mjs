// What only a run knows of a plan: the driving video and the machine. It comes with a node's ui output `scail2_plan`.
import { onExecuted } from "./dom.mjs";
import { signature } from "./graph.mjs";

export const live = new Set(); // refreshes of all panels, for what changes on another node
export const machine = {}; // GPU and model
const videos = new Map(); // by all that decides a driving video

/** Hear what a node's runs tell. */
export function attach(node) {
  onExecuted(node, (output) => {
    const facts = output?.scail2_plan?.[0];
    if (!facts) return;
    videos.set(signature(node, "driving"), facts);
    for (const name of ["gpu_bytes", "weight_bytes", "model", "pace", "coder_pace"]) machine[name] = facts[name] ?? machine[name];
    for (const refresh of live) refresh();
  });
}

/** What is known of the video that a node is driven by. */
export const videoOf = (node) => videos.get(signature(node, "driving"));
