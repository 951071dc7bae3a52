// The help page of a node, opened as a user opens it: {type} -> its title, and the pictures in it.
import { addNode } from "./page_tools.mjs";

export default async function helpPage(page, { type }) {
  const id = await addNode(page, type, {}, [300, 300]);
  await page.evaluate((id) => {
    const { canvas, graph } = window.comfyAPI.app.app;
    canvas.selectNode(graph.getNodeById(id));
  }, id);
  await page.getByTestId("info-button").click();
  const help = page.locator(".node-help-content");
  await help.locator("img").first().waitFor();
  await page.waitForFunction(() => document.querySelector(".node-help-content img").naturalWidth > 0);
  return {
    title: await help.locator("h1").first().textContent(),
    pictures: await help.locator("img").evaluateAll((all) => all.map((one) => one.naturalWidth)),
  };
}
