// A graph in API format runs; then a picture of each of the pack's nodes: {prompt, folder}
import { drawn, run } from "./page_tools.mjs";

const SIZE = [420, 100], LARGER = { SCAIL2DriftReport: [620, 860], SCAIL2Poses: [620, 900], SCAIL2PlatePreview: [560, 1020] }; // pixels of the page

export default async function pictures(page, { prompt, folder }) {
  await page.evaluate(async ([prompt, usual, larger]) => {
    const { app } = window.comfyAPI.app;
    await app.loadApiJson(prompt, "pictures");
    app.extensionManager.focusMode = true;
    app.canvas.links_render_mode = window.LiteGraph.HIDDEN_LINK;
    app.graph.nodes.forEach((node, index) => {
      node.pos = [2000 * index, 0];
      node.setSize(larger[node.type] ?? usual); // at least as high as what is in it
    });
  }, [prompt, SIZE, LARGER]);
  await run(page);
  await page.waitForFunction(() => [...document.querySelectorAll(".scail2-seam")].slice(1).every((one) => one.textContent));
  const nodes = await page.evaluate(() => window.comfyAPI.app.app.graph.nodes.map(({ id, type }) => ({ id, type })));
  for (const { id, type } of nodes.filter(({ type }) => type.startsWith("SCAIL2"))) {
    await page.evaluate((id) => {
      const { canvas, graph } = window.comfyAPI.app.app;
      canvas.ds.scale = 1;
      canvas.ds.offset = [60 - graph.getNodeById(id).pos[0], 80];
      canvas.setDirty(true, true);
    }, id);
    await page.waitForTimeout(800); // previews load
    await drawn(page);
    const box = await page.locator(`[data-node-id="${id}"]`).boundingBox();
    await page.screenshot({ path: `${folder}/${type}.jpg`, type: "jpeg", quality: 82, clip: {
      x: box.x - 12, y: box.y - 12, width: box.width + 24, height: box.height + 24 } });
  }
}
