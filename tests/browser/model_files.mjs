// The list of missing model files: {content, others, complete, screenshot?} -> what it says when a workflow is opened, when
// it was closed, when the files of `complete` have been written ({path, size}), and for the workflow `others`.
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { drawn } from "./page_tools.mjs";

export default async function modelFiles(page, { content, others, complete, screenshot }) {
  const list = page.getByRole("complementary", { name: "Model files" });
  const said = async () => ({
    heading: await list.getByRole("status").textContent(),
    lines: await list.locator("li").allTextContents(),
    links: await list.locator("a").evaluateAll((all) => all.map(({ href }) => href)),
  });
  const open = (content) => page.evaluate((content) => window.comfyAPI.app.app.loadGraphData(content), content);
  await open(content);
  await list.waitFor();
  const found = { opened: await said() };
  if (screenshot) await page.screenshot({ path: screenshot });
  await list.getByRole("button", { name: "Close" }).click();
  await open(content);
  await drawn(page);
  await page.waitForTimeout(500);
  found.closed = await list.count();
  await page.evaluate(() => window.comfyAPI.app.app.refreshComboInNodes());
  await list.waitFor();
  for (const { path, size } of complete) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, "");
    truncateSync(path, size); // without blocks on the disk
  }
  await list.getByRole("button", { name: "Look again" }).click();
  await page.waitForFunction(() => /^All/.test(document.querySelector(".scail2-files b")?.textContent ?? ""));
  found.complete = await said();
  if (screenshot) await page.screenshot({ path: screenshot.replace(".png", "_complete.png") });
  await open(others);
  await drawn(page);
  await page.waitForTimeout(500);
  found.others = await list.count();
  return found;
}
