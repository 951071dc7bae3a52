// A run that fails because nobody says who is who shows the table, and what is chosen there lets it pass. Then a run
// fills the table; what is chosen there is run, undone, and kept inside a subgraph.
import { drawn, run } from "./page_tools.mjs";

export default async function identityRun(page, { prompt, unpaired, id, screenshot }) {
  const widgets = () => page.evaluate((id) => Object.fromEntries(window.comfyAPI.app.app.graph.getNodeById(id).widgets
    .map(({ name, value }) => [name, value])), id);
  const table = page.getByRole("table", { name: "Who is driven by whom" });
  const found = {};

  const open = (prompt) => page.evaluate(([prompt, id]) => {
    const { app } = window.comfyAPI.app;
    app.loadApiJson(prompt, "people");
    const node = app.graph.getNodeById(id);
    node.pos = [560, 60];
    app.canvas.ds.offset = [-450, 40];
    app.canvas.ds.scale = 1;
  }, [prompt, id]);
  const problem = page.locator(".scail2-identities p");

  found.unpaired = [];
  for (const binding of ["", "1:5"]) {
    await open({ ...unpaired, [id]: { ...unpaired[id], inputs: { ...unpaired[id].inputs, binding } } });
    await run(page, "execution_error");
    const asked = await problem.allTextContents();
    if (screenshot) await page.screenshot({ path: screenshot.replace(".png", "_unpaired.png") });
    await table.getByRole("combobox", { name: "red is driven by" }).selectOption("1");
    await table.getByRole("combobox", { name: "green is driven by" }).selectOption("2");
    const { binding: written } = await widgets();
    await run(page);
    found.unpaired.push([...asked, written, await problem.count()]);
  }

  await open(prompt);
  await run(page);
  await table.waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll(".scail2-identities img")].every((one) => one.complete
    && one.naturalWidth > 0), undefined, { timeout: 20000 });
  found.pictures = await table.locator("img").evaluateAll((all) => all.map((one) => [one.naturalWidth, one.alt]));
  await table.getByRole("combobox", { name: "blue is driven by" }).selectOption("2");
  await table.getByRole("textbox", { name: "Name of person 1" }).fill("Anna");
  await page.keyboard.press("Tab");
  await run(page);
  if (screenshot) await page.screenshot({ path: screenshot });
  found.swapped = (await widgets()).binding;
  found.shown = await table.locator("select").evaluateAll((all) => all.map(({ value }) => value));
  const region = page.getByRole("region", { name: "Who is driven by whom" });
  found.cut = await region.evaluate((root) => [root.scrollWidth - root.clientWidth, root.scrollHeight - root.clientHeight]);

  await page.evaluate(() => document.activeElement.blur());
  const undo = () => page.evaluate(() =>
    window.comfyAPI.app.app.extensionManager.workflow.activeWorkflow.changeTracker.undo());
  await undo();
  await drawn(page);
  found.undone = await widgets();
  await undo();
  await drawn(page);
  found.undoneTwice = await widgets();
  found.after = await table.locator("select").evaluateAll((all) => all.map(({ value }) => value));

  await table.getByRole("combobox", { name: "blue is driven by" }).selectOption("2");
  found.inside = await page.evaluate(async (id) => {
    const { app } = window.comfyAPI.app;
    const { node } = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]));
    const { output } = await app.graphToPrompt();
    return Object.entries(output).filter(([, { class_type: type }]) => type === "SCAIL2Identities")
      .map(([key, { inputs }]) => [key === `${node.id}:${id}` || key, inputs.binding]);
  }, id);
  return found;
}
