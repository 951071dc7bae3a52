// The panel of a video and its draft, fed with what runs say: {compared, gone: addresses of files, screenshot?} -> what
// it shows.
import { addNode, executed } from "./page_tools.mjs";

const PANEL = "The video beside its draft";

export default async function draftPanel(page, { compared, gone, screenshot }) {
  const id = await addNode(page, "SCAIL2SampleVideo", { draft: true });
  const panel = page.getByRole("region", { name: PANEL });
  const tell = (about) => executed(page, id, { scail2_draft: [about] });
  const answer = {};
  await tell({ draft: true, differences: [], video: null });
  answer.draft = await panel.count();
  await tell({ draft: false, differences: ["size 64x32 -> 128x64", "the prompt"], video: compared });
  await page.waitForFunction(() => document.querySelector(".scail2-draft video")?.videoWidth);
  answer.full = await panel.innerText();
  answer.video = await panel.locator("video").evaluate(({ videoWidth, videoHeight, autoplay }) =>
    [videoWidth, videoHeight, autoplay]);
  if (screenshot) await page.screenshot({ path: screenshot });
  await panel.locator("video").evaluate((video) => { video.dataset.same = "yes"; });
  await tell({ draft: false, differences: ["size 64x32 -> 128x64", "the prompt"], video: compared });
  answer.kept = await panel.locator("video[data-same]").count();
  await tell({ draft: false, differences: ["size 64x32 -> 128x64"], video: gone });
  await page.waitForFunction(() => document.querySelector(".scail2-draft [role=status]").textContent);
  answer.gone = await panel.innerText();
  await tell({ draft: false, differences: [], video: null });
  answer.none = await panel.innerText();
  const values = await page.evaluate(() => window.comfyAPI.app.app.graph.serialize().nodes[0].widgets_values);
  answer.saved = values.slice(values.lastIndexOf(true)); // the switch and what comes after it
  return answer;
}
