// The pack's panels on its nodes. Each panel is a DOM widget that shows what a run has told, and writes what the user
// chooses into the node's own widgets, so that a saved workflow and a program's call are the same as the page.
// They are loaded with the first node that has them, because most pages have none.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const PANELS = { // modules of lib that have `attach(node)`
  SCAIL2Identities: ["identity_table"],
  SCAIL2Preflight: ["check_report", "plan_facts"],
  SCAIL2EncodeReference: ["size_offers"],
  SCAIL2MotionTransfer: ["plan_bar"],
  SCAIL2SampleVideo: ["plan_bar", "timeline", "draft_panel"],
};
const MORE = /^more_(driving|reference)_masks\.person_(\d+)$/; // inputs that grow, both called person_2 by the page
const loaded = {}; // by type: its modules
let dom = null, files = null;

async function load(type) {
  const [first, ...panels] = await Promise.all(["dom", ...PANELS[type]].map((name) => import(`./lib/${name}.mjs`)));
  await first.stylesheet(new URL("scail2.css", import.meta.url)); // panels are measured
  dom = first;
  loaded[type] = panels;
}

/** Say in the labels of a node's inputs which side they are of; a label that the user has written stays. */
function label({ inputs }) {
  for (const input of inputs) {
    const [, side, number] = MORE.exec(input.name) ?? [];
    if (side && (input.label ?? `person_${number}`) === `person_${number}`) input.label = `${side} person ${number}`;
  }
}

/** At once, because labels are saved, and whenever the page makes inputs. */
function keepLabels(node) {
  const [needed] = node.computeSize();
  label(node);
  node.setSize([node.size[0] + node.computeSize()[0] - needed, node.size[1]]);
  for (const hook of ["onConfigure", "onConnectionsChange"]) {
    const before = node[hook];
    node[hook] = function (...given) {
      const result = before?.apply(this, given);
      label(this);
      return result;
    };
  }
}

/** Say which model files are missing. again: the user has asked. */
async function lookForFiles(again) {
  const { rootGraph } = app;
  const ours = [rootGraph, ...rootGraph.subgraphs.values()].some((graph) => graph.nodes.some(({ comfyClass }) =>
    comfyClass?.startsWith("SCAIL2")));
  if (!ours && !files) return; // most pages
  const [{ stylesheet }, module] = await Promise.all(["dom", "model_files"].map((name) => import(`./lib/${name}.mjs`)));
  await stylesheet(new URL("scail2.css", import.meta.url));
  files = module;
  await files.look(again);
}

app.registerExtension({
  name: "scail2.panels",
  init() {
    api.addEventListener("scail2.progress", () => {}); // the page warns of messages that nobody hears
  },
  // awaited before a workflow has nodes: what comes later would change them
  async beforeConfigureGraph({ nodes = [], definitions }) {
    const graphs = [nodes, ...(definitions?.subgraphs ?? []).map((graph) => graph.nodes ?? [])];
    const types = new Set(graphs.flat().map(({ type }) => type).filter((type) => Object.hasOwn(PANELS, type)));
    await Promise.all([...types].map(load));
  },
  async nodeCreated(node) {
    const type = node.comfyClass;
    if (!Object.hasOwn(PANELS, type)) return;
    if (type === "SCAIL2Identities") keepLabels(node);
    const late = !loaded[type];
    if (late) await load(type);
    if (late && !node.graph) return; // it is gone meanwhile
    for (const { attach } of loaded[type]) attach(node);
    if (late) dom.retell(app.nodeOutputs); // a run may have told meanwhile
  },
  afterConfigureGraph: () => void lookForFiles(false),
  refreshComboInNodes: () => void lookForFiles(true),
  onNodeOutputsUpdated: (outputs) => dom?.retell(outputs),
});
