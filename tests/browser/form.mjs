// A workflow that opens as a form: {content, labels} -> which of the labels are seen, whether the page can run it, and a
// prompt with another word in it.
export default async function form(page, { content, labels, screenshot }) {
  await page.evaluate((content) => window.comfyAPI.app.app.loadGraphData(content, true, true, "form"), content);
  await page.getByText("Number of runs").waitFor(); // below the fields of a form
  const seen = [];
  for (const label of labels) {
    // the graph's nodes are there too, out of sight
    if (await page.getByText(label, { exact: true }).locator("visible=true").count()) seen.push(label);
  }
  if (screenshot) await page.screenshot({ path: screenshot });
  const words = page.locator("input[type=text]:visible, input:not([type]):visible");
  const values = await words.evaluateAll((all) => all.map(({ value }) => value));
  const place = values.indexOf("person");
  if (place >= 0) {
    await words.nth(place).fill("robot");
    await words.nth(place).press("Tab");
  }
  const { output } = await page.evaluate(() => window.comfyAPI.app.app.graphToPrompt());
  // the next test sees the graph
  await page.evaluate((content) => window.comfyAPI.app.app.loadGraphData(content, true, true, "graph"),
    { ...content, extra: {} });
  return { seen, values, output };
}
