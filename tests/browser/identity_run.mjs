// A run that fails because nobody says who is who shows the table, and what is chosen there lets it pass. Then a run
// fills the table; what is chosen there is run, undone, and kept inside a subgraph.
import { drawn, hearing, run, step } from "./page_tools.mjs";

export default async function identityRun(page, { prompt, unpaired, id, screenshot }) {
  const widgets = () => page.evaluate((id) => Object.fromEntries(window.comfyAPI.app.app.graph.getNodeById(id).widgets
    .map(({ name, value }) => [name, value])), id);
  const table = page.getByRole("table", { name: "Who is driven by whom" });
  const note = page.locator(".scail2-identities").getByRole("status");
  const found = {};

  // newer frontends keep what a node of the same number had, unless a value is given
  const open = async (prompt, binding) => {
    const inputs = { ...prompt[id].inputs, binding };
    await page.evaluate(async ([prompt, id]) => {
      const { app } = window.comfyAPI.app;
      await app.loadApiJson(prompt, "people"); // older frontends do it at once
      const node = app.graph.getNodeById(id);
      node.pos = [560, 60];
      app.canvas.ds.offset = [-450, 40];
      app.canvas.ds.scale = 1;
    }, [{ ...prompt, [id]: { ...prompt[id], inputs } }, id]);
    await hearing(page, id);
  };
  const problem = page.locator(".scail2-identities p");

  found.unpaired = [];
  for (const binding of ["", "1:5"]) {
    await open(unpaired, binding);
    await run(page, "execution_error");
    await table.waitFor();
    const asked = await problem.allTextContents();
    if (screenshot) await page.screenshot({ path: screenshot.replace(".png", "_unpaired.png") });
    await table.getByRole("combobox", { name: "red is driven by" }).selectOption("1");
    await drawn(page);
    await table.getByRole("combobox", { name: "green is driven by" }).selectOption("2");
    await drawn(page);
    const { binding: written } = await widgets();
    await run(page);
    found.unpaired.push([...asked, written, await problem.count()]);
  }

  await open(prompt, "");
  await run(page);
  await table.waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll(".scail2-identities img")].every((one) => one.complete
    && one.naturalWidth > 0), undefined, { timeout: 20000 });
  found.pictures = await table.locator("img").evaluateAll((all) => all.map((one) => [one.naturalWidth, one.alt]));
  await table.getByRole("combobox", { name: "blue is driven by" }).selectOption("2");
  await drawn(page);
  await table.getByRole("textbox", { name: "Name of person 1" }).fill("Anna");
  await page.keyboard.press("Tab");
  await drawn(page);
  found.focus = await page.evaluate(() => document.activeElement.dataset.key);
  found.notes = [await note.textContent()];
  if (screenshot) await page.screenshot({ path: screenshot.replace(".png", "_changed.png") });
  await run(page);
  found.notes.push(await note.textContent());
  if (screenshot) await page.screenshot({ path: screenshot });
  found.swapped = (await widgets()).binding;
  found.shown = await table.locator("select").evaluateAll((all) => all.map(({ value }) => value));
  const region = page.getByRole("region", { name: "Who is driven by whom" });
  found.cut = await region.evaluate((root) => [root.scrollWidth - root.clientWidth, root.scrollHeight - root.clientHeight]);

  // each choice is one step, though it writes two texts and the table grows; clicks beside it are none
  await table.getByRole("combobox", { name: "Anna is driven by" }).selectOption("");
  const texts = async () => {
    await page.waitForTimeout(200);
    await drawn(page);
    const { binding, front, names } = await widgets();
    return [binding, front, names, await note.first().textContent()];
  };
  found.left_out = await texts();
  found.keys = [];
  for (const key of ["z", "z", "z", "y", "y", "y", "z"]) {
    if (found.keys.length < 2) await page.mouse.click(80, 700);
    await step(page, key);
    found.keys.push(await texts());
  }
  found.after = await table.locator("select").evaluateAll((all) => all.map(({ value }) => value));

  // a copy has a table of its own when it has run
  await page.evaluate((id) => window.comfyAPI.app.app.canvas.selectNode(window.comfyAPI.app.app.graph.getNodeById(id)), id);
  await page.keyboard.press("Control+c");
  await page.mouse.move(800, 150);
  await page.keyboard.press("Control+v");
  await page.waitForFunction((count) => window.comfyAPI.app.app.graph.nodes.length > count, Object.keys(prompt).length);
  await page.waitForTimeout(300);
  found.before_its_run = await table.count();
  const copy = await page.evaluate((id) => {
    const { app } = window.comfyAPI.app;
    const node = app.graph.nodes.find((one) => one.comfyClass === "SCAIL2Identities" && String(one.id) !== String(id));
    node.onExecuted(app.nodeOutputs[id]);
    return node.id;
  }, id);
  await page.waitForFunction((copy) => {
    const { widgets } = window.comfyAPI.app.app.graph.getNodeById(copy);
    const table = widgets.find(({ name }) => name.startsWith("scail2_identity_table"));
    return table && (table.element.id = "copy");
  }, copy);
  await page.locator("#copy select").last().selectOption("");
  found.copy = [await texts(), await page.evaluate((id) => window.comfyAPI.app.app.graph.getNodeById(id).widgets
    .find(({ name }) => name === "binding").value, copy), await table.count()];
  await step(page, "z");
  await step(page, "z");
  found.copy.push(await texts(), await table.count());

  // another tab, and back
  const tab = await page.evaluate(async () => {
    const { extensionManager } = window.comfyAPI.app.app;
    const { filename } = extensionManager.workflow.activeWorkflow;
    await extensionManager.command.execute("Comfy.NewBlankWorkflow");
    return filename;
  });
  await page.waitForTimeout(300);
  found.tab = [await table.count()];
  await page.locator(".workflow-tab").getByText(tab, { exact: true }).click();
  await table.waitFor();
  found.tab.push(await texts(), await table.locator("select").evaluateAll((all) => all.map(({ value }) => value)));

  await table.getByRole("combobox", { name: "Anna is driven by" }).selectOption("1");
  await drawn(page);
  found.inside = await page.evaluate(async (id) => {
    const { app } = window.comfyAPI.app;
    const { node } = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]));
    const { output } = await app.graphToPrompt();
    return Object.entries(output).filter(([, { class_type: type }]) => type === "SCAIL2Identities")
      .map(([key, { inputs }]) => [key === `${node.id}:${id}` || key, inputs.binding]);
  }, id);
  return found;
}
