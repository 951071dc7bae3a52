// A finished video beside its draft: what differs, and both in one picture.
import { api } from "../../../scripts/api.js";
import { element, onExecuted, panel } from "./dom.mjs";

/** The panel appears with the first video that has a draft, and is empty for one that has none. */
export function attach(node) {
  let drawn = null, shown = null;
  onExecuted(node, (output) => {
    const about = output?.scail2_draft?.[0];
    const now = JSON.stringify(about);
    // told again when the page is drawn anew: a video that is playing goes on
    if (!about || now === shown || !(drawn || about.differences.length)) return;
    shown = now;
    drawn ??= panel(node, "scail2_draft", "The video beside its draft", "scail2-draft");
    drawn.inside.replaceChildren(...(about.differences.length ? comparison(about) : []));
    drawn.resize();
  });
}

function comparison({ differences, video }) {
  const line = element("div", { text: `Draft -> video: ${differences.join("; ")}` });
  if (!video) return [line];
  const told = element("div", { role: "status" });
  const both = element("video", { controls: true, loop: true, preload: "metadata", "aria-label": "Draft and video",
    src: api.apiURL(`/view?${new URLSearchParams(video)}`),
    onerror: () => { told.textContent = "The file with both is gone from the job folder."; } });
  return [line, both, told];
}
