import { addNode, executed } from "./page_tools.mjs";

export default async function checkReport(page, { findings, screenshot }) {
  const driving = await addNode(page, "LoadVideo", {}, [50, 300]);
  const check = await addNode(page, "SCAIL2Preflight", {}, [500, 50]);
  await page.evaluate(([from, to]) => {
    const { graph } = window.comfyAPI.app.app;
    const target = graph.getNodeById(to);
    graph.getNodeById(from).connect(0, target, target.inputs.findIndex((slot) => slot.name === "driving"));
  }, [driving, check]);
  await executed(page, check, { scail2_findings: findings });
  const panel = page.getByRole("region", { name: "What the check has found" });
  const texts = await panel.locator("li > span:not([aria-hidden])").allTextContents();
  const headings = await panel.locator("summary").allTextContents();
  if (screenshot) await page.screenshot({ path: screenshot });
  await panel.getByRole("button", { name: "show" }).first().click();
  const selected = await page.evaluate(() => Object.keys(window.comfyAPI.app.app.canvas.selected_nodes));
  const saved = await page.evaluate(() => window.comfyAPI.app.app.graph.serialize());
  const { output } = await page.evaluate(() => window.comfyAPI.app.app.graphToPrompt());
  return { texts, headings, selected, driving, check, saved, output };
}
