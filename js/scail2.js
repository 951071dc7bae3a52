// The pack's panels on its nodes. Each panel is a DOM widget that shows what a run has told, and writes what the user
// chooses into the node's own widgets, so that a saved workflow and a program's call are the same as the page.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { attachCheckReport } from "./lib/check_report.mjs";
import { retell, stylesheet } from "./lib/dom.mjs";
import { attachIdentityTable } from "./lib/identity_table.mjs";
import { attachPlanBar, attachPlanFacts, attachSizeOffers } from "./lib/plan_bar.mjs";
import { attachTimeline, followRuns } from "./lib/timeline.mjs";

const PANELS = {
  SCAIL2Identities: [attachIdentityTable],
  SCAIL2Preflight: [attachCheckReport, attachPlanFacts],
  SCAIL2EncodeReference: [attachSizeOffers],
  SCAIL2MotionTransfer: [attachPlanBar],
  SCAIL2SampleVideo: [attachPlanBar, attachTimeline],
};

app.registerExtension({
  name: "scail2.panels",
  init() {
    stylesheet(new URL("scail2.css", import.meta.url));
    followRuns({ app, api });
  },
  nodeCreated(node) {
    for (const attach of PANELS[node.comfyClass] ?? []) attach(node, { app, api });
  },
  onNodeOutputsUpdated: (outputs) => retell(app, outputs),
});
