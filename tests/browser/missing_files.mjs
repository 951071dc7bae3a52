// What the list of missing model files says of workflows: {contents} -> a list of lines each.

export default async function missingFiles(page, { contents }) {
  const list = page.getByRole("complementary", { name: "Model files" });
  const said = [];
  for (const content of contents) {
    await page.evaluate((content) => window.comfyAPI.app.app.loadGraphData(content), content);
    await list.waitFor();
    await page.waitForTimeout(500); // it may still show that of the workflow before
    said.push(await list.locator("li").allTextContents());
  }
  return said;
}
