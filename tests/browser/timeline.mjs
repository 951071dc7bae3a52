// The timeline fed with made-up events: {whole, changes: messages of one run, other: of a run of another workflow, plan,
// screenshot?} -> what it shows and writes.
import { addNode, clear, drawn, step } from "./page_tools.mjs";

const LISTENED = "scail2.progress";

export default async function timeline(page, { whole, changes, other, plan, screenshot }) {
  const id = await addNode(page, "SCAIL2SampleVideo", { plan, remake: "3", remake_seed: 5, remake_scope: "only these" });
  // a listener of a node's own would stay behind with each node that never comes into a graph
  await page.evaluate(() => {
    const { api } = window.comfyAPI.api;
    const add = api.addEventListener.bind(api);
    window.listeners = 0;
    api.addEventListener = (name, ...given) => {
      if (name.startsWith("scail2")) window.listeners += 1;
      return add(name, ...given);
    };
  });
  await page.evaluate((id) => {
    const { app } = window.comfyAPI.app;
    const node = app.graph.getNodeById(id);
    node.setSize([420, node.size[1]]);
    app.canvas.ds.scale = 0.7;
    app.canvas.ds.offset = [60, 70];
    app.canvas.setDirty(true, true);
  }, id);
  const tell = (message) => page.evaluate(([type, detail]) => {
    window.comfyAPI.api.api.dispatchEvent(new CustomEvent(type, { detail }));
  }, [LISTENED, { ...message, node: message.inside ?? String(id) }]);

  const shown = async () => {
    await drawn(page);
    return page.evaluate(() => ({
      blocks: [...document.querySelectorAll(".scail2-block")].map((block) => block.getAttribute("aria-label")),
      open: [...document.querySelectorAll(".scail2-block")].map((block) => !block.disabled),
      line: document.querySelector(".scail2-line")?.textContent,
      bar: document.querySelector(".scail2-head > progress")?.value,
    }));
  };
  const answer = { id };
  await tell(other);
  answer.other = await shown();
  await tell(whole);
  answer.begun = await shown();
  answer.steps = [];
  for (const message of changes) {
    await tell(message);
    answer.steps.push(await shown());
  }
  if (screenshot) await page.screenshot({ path: `${screenshot}-running.png` });

  const block = page.locator(".scail2-block").nth(1);
  answer.widths = await page.locator(".scail2-block").evaluateAll((all) => all.map((one) => one.offsetWidth));
  await block.focus();
  await page.keyboard.press("Enter");
  answer.expanded = await block.getAttribute("aria-expanded");
  const form = page.getByRole("group", { name: "Segment 2", exact: true });
  answer.prefilled = await form.getByLabel("Seed in the plan").inputValue();
  await form.getByLabel("Seed in the plan").fill("18446744073709551615");
  await form.getByLabel("Prompt in the plan").fill('She says "no", and turns.');
  await form.getByLabel("only this segment").check();
  await form.getByRole("button", { name: "Write to the plan" }).click();
  answer.written = await widgets(page, id);
  await form.getByLabel("Seed for remake").fill("77");
  await form.getByLabel("What is made again").selectOption("and everything after");
  await form.getByRole("button", { name: "Make it again" }).click();
  answer.remade = await widgets(page, id);
  await form.getByLabel("Seed for remake").fill("no number");
  await form.getByRole("button", { name: "Make it again" }).click();
  answer.refused = await form.locator("output").textContent();
  answer.unchanged = await widgets(page, id);
  if (screenshot) await page.screenshot({ path: `${screenshot}-form.png` });
  answer.saved = await page.evaluate(() => window.comfyAPI.app.app.graph.serialize().nodes[0].widgets_values);

  answer.keys = [];
  for (const key of ["z", "z", "y", "y"]) {
    await step(page, key);
    const { blocks } = await shown();
    answer.keys.push([await widgets(page, id), blocks.length]);
  }

  // in a subgraph the same node is another object
  await page.evaluate((id) => {
    const { app } = window.comfyAPI.app;
    const { node } = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]));
    window.inside = { host: node, sampler: node.subgraph.nodes.find(({ type }) => type === "SCAIL2SampleVideo") };
  }, id);
  const inside = await page.evaluate(() => `${window.inside.host.id}:${window.inside.sampler.id}`);
  const has = async () => {
    await drawn(page);
    return page.evaluate(() => window.inside.sampler.widgets.some(({ name }) => name.startsWith("scail2_timeline")));
  };
  await tell({ ...whole, prompt_id: "elsewhere" });
  answer.subgraph = [inside, await has()];
  await tell({ ...whole, prompt_id: "inside", inside });
  answer.subgraph.push(await has());

  await clear(page);
  await tell({ ...whole, prompt_id: "of a node that is gone" });
  answer.listeners = await page.evaluate(() => window.listeners);
  return answer;
}

async function widgets(page, id) {
  return page.evaluate(async (id) => {
    const { inputs } = (await window.comfyAPI.app.app.graphToPrompt()).output[id];
    return Object.fromEntries(["plan", "remake", "remake_scope", "remake_seed"].map((name) => [name, inputs[name]]));
  }, id);
}
