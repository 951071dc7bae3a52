import { addNode, drawn, executed } from "./page_tools.mjs";

/** Cards as a run gives them; thumbnails of one pixel are enough. */
export default async function identityTable(page, { cards, screenshot }) {
  const id = await addNode(page, "SCAIL2Identities", {}, [60, 60]);
  const found = { id };
  await executed(page, id, { scail2_identities: cards });
  const table = page.getByRole("table", { name: "Who is driven by whom" });
  const driven = (name) => table.getByRole("combobox", { name: `${name} is driven by` });
  await table.waitFor();
  const values = async () => {
    await drawn(page);
    return page.evaluate((id) => Object.fromEntries(window.comfyAPI.app.app.graph.getNodeById(id).widgets
    .filter(({ name }) => ["binding", "front", "names"].includes(name)).map(({ name, value }) => [name, value])), id);
  };
  const people = () => table.locator("tbody tr").evaluateAll((rows) => rows.map((row) => row.dataset.person));

  found.heads = await table.locator("thead th").allTextContents();
  found.rows = await table.locator("tbody tr").evaluateAll((rows) => rows.map((row) => ({
    person: row.dataset.person, colour: row.querySelector(".scail2-swatch").style.background,
    driven: row.querySelector("select").selectedOptions[0].textContent,
    options: [...row.querySelectorAll("option")].map((option) => option.textContent),
    seen: [...row.querySelectorAll("small")].map((span) => span.textContent) })));
  found.free = await page.locator(".scail2-free img").count();
  if (screenshot) await page.screenshot({ path: screenshot });

  await driven("blue").selectOption("2");
  await drawn(page);
  await driven("red").selectOption("1");
  found.swapped = await values();
  await driven("blue").selectOption("1");
  found.back = await values();
  await table.getByRole("textbox", { name: "Name of person 2" }).fill("Ben");
  await page.keyboard.press("Tab");
  await drawn(page);
  found.renamed = await values();
  await table.getByRole("button", { name: "Move Ben to the front" }).click();
  found.front = await values();
  found.order = await people();
  await driven("Ben").selectOption("");
  found.hidden = await values();
  found.last = await driven("blue").locator("option[value='']").isDisabled();
  await driven("red").selectOption("2");
  found.again = await values();

  // by mouse: the driving person of row 1 onto row 2
  const row = (number) => table.locator(`tr[data-person="${number}"]`);
  await row(1).locator(".scail2-driving").dragTo(row(2));
  found.dragged = await values();

  found.saved = await page.evaluate(() => window.comfyAPI.app.app.graph.serialize());
  found.prompt = (await page.evaluate(() => window.comfyAPI.app.app.graphToPrompt())).output[id].inputs;
  found.copied = await page.evaluate((id) => {
    const { app } = window.comfyAPI.app;
    const copy = app.graph.getNodeById(id).clone();
    app.graph.add(copy);
    const { widgets } = copy;
    const answer = ["binding", "front", "names"].map((name) => widgets.find((one) => one.name === name).value);
    app.graph.remove(copy);
    return answer;
  }, id);

  // written elsewhere
  await page.evaluate((id) => {
    const widget = window.comfyAPI.app.app.graph.getNodeById(id).widgets.find(({ name }) => name === "binding");
    widget.value = "1:1";
    widget.callback("1:1");
  }, id);
  await drawn(page);
  found.typed = await table.locator("select").evaluateAll((all) => all.map(({ value }) => value));
  await page.evaluate((id) => {
    const widget = window.comfyAPI.app.app.graph.getNodeById(id).widgets.find(({ name }) => name === "binding");
    widget.value = "1:9";
    widget.callback("1:9");
  }, id);
  await drawn(page);
  found.problem = await page.locator(".scail2-identities p").allTextContents();

  await page.evaluate((saved) => window.comfyAPI.app.app.loadGraphData(saved), found.saved);
  found.loaded = await values();
  await executed(page, id, { scail2_identities: cards });
  await table.waitFor();
  found.shown = await table.locator("select").evaluateAll((all) => all.map(({ value }) => value));
  await page.evaluate((id) => {
    const { graph } = window.comfyAPI.app.app;
    graph.remove(graph.getNodeById(id));
  }, id);
  await drawn(page);
  found.left = await page.locator(".scail2-identities").count();
  return found;
}
