// What only a run knows of a plan: the driving video and the machine. It comes with a node's ui output `scail2_plan`.
import { api } from "../../../scripts/api.js";
import { onExecuted } from "./dom.mjs";
import { signature } from "./graph.mjs";

export const live = new Set(); // refreshes of all panels, for what changes elsewhere
export const machine = {}; // GPU, model and their pace
const teams = new Map(); // how many GPUs, and what the model computes in, by all that decides it
const videos = new Map(); // by all that decides a driving video

api.addEventListener("reconnected", refreshAll);

/** Hear what a node's runs tell. */
export function attach(node) {
  onExecuted(node, (output) => {
    const facts = output?.scail2_plan?.[0];
    if (!facts) return;
    const { frames, fps, rate, every, filmed, found_cuts, width, height, additional } = facts;
    videos.set(signature(node, "driving"), { frames, fps, rate, every, filmed, found_cuts, width, height, additional });
    for (const name of ["gpu_bytes", "weight_bytes", "model", "pace", "coder_pace"]) {
      machine[name] = facts[name] ?? machine[name];
    }
    const { gpus, link, lanes, int8 } = facts;
    teams.set(decisive(node), { gpus, link, lanes, int8 });
    refreshAll();
  });
}

/** What is known of the video that a node is driven by, null for nothing. */
export const videoOf = (node) => videos.get(signature(node, "driving")) ?? null;

/** What is known of the machine that makes a node's video. */
export const machineOf = (node) => ({ ...machine, ...teams.get(decisive(node)) });

const decisive = (node) => JSON.stringify(["model", "vae", "sampler"].map((input) => signature(node, input)));

export function refreshAll() {
  for (const refresh of live) refresh();
}
