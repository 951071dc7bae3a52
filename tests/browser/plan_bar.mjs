import { addNode, drawn, executed, step, steps, still } from "./page_tools.mjs";

const NAME = "Plan of the segments";

export default async function planBar(page, { facts, screenshot }) {
  const reference = await addNode(page, "SCAIL2EncodeReference", {}, [30, 60]);
  const sample = await addNode(page, "SCAIL2SampleVideo", {}, [420, 60]);
  const motion = await addNode(page, "SCAIL2MotionTransfer", { start_frame: 76 }, [880, 60]);
  const driving = await addNode(page, "CreateVideo", {}, [30, 420]);
  const reroute = await addNode(page, "Reroute", {}, [330, 30]);
  await page.evaluate(([reference, reroute, sample, motion, driving]) => {
    const { graph } = window.comfyAPI.app.app;
    const connect = (from, to, name) => {
      const target = graph.getNodeById(to);
      const slot = name ? target.inputs.findIndex((input) => input.name === name) : 0;
      graph.getNodeById(from).connect(0, target, slot);
    };
    connect(reference, reroute);
    connect(reroute, sample, "reference");
    connect(reference, motion, "reference");
    for (const id of [sample, motion]) connect(driving, id, "driving");
  }, [reference, reroute, sample, motion, driving]);
  const panels = page.getByRole("region", { name: NAME });
  const answer = {};
  const read = async (index = 0) => {
    await drawn(page);
    const panel = panels.nth(index);
    const texts = (selector) => panel.locator(selector).allTextContents();
    return {
      lines: await texts(".scail2-plan > div:not([class])"), problems: await texts("[role=alert]"),
      choices: await texts("button"), told: (await texts(".scail2-plan-told"))[0],
      labels: await panel.getByRole("listitem").evaluateAll((items) => items.map((item) => item.ariaLabel)),
      widths: await panel.getByRole("listitem").evaluateAll((items) => items.map((item) => item.getBoundingClientRect().width)),
    };
  };
  const change = async (id, name, value) => page.evaluate(([id, name, value]) => {
    const { app } = window.comfyAPI.app;
    const node = app.rootGraph.getNodeById(id), widget = node.widgets.find((found) => found.name === name);
    widget.value = value;
    widget.callback?.(value, app.canvas, node);
  }, [id, name, value]);

  await panels.first().waitFor();
  answer.before = await read();
  await still(page);
  const heights = () => panels.nth(1).evaluate((panel) => panel.firstChild.offsetHeight);
  answer.steps = [await steps(page)];
  answer.heights = [await heights()];
  await executed(page, sample, { scail2_plan: [facts] }); // the panels grow
  answer.after = await read();
  await still(page);
  answer.steps.push(await steps(page));
  answer.heights.push(await heights());
  answer.motion = await read(1);
  if (screenshot) await page.screenshot({ path: screenshot });
  await change(sample, "plate", "lock");
  answer.plate = await read();
  await change(sample, "plate", "off");
  for (const [name, value] of [["segment_length", 41], ["overlap", 9], ["lengths", "full last"], ["scene_cuts", "100, 10s"]]) {
    await change(sample, name, value);
    answer[name] = await read();
  }
  await executed(page, sample, { scail2_plan: [{ ...facts, gpus: 2, lanes: 0 }] });
  answer.together = await read();
  await executed(page, sample, { scail2_plan: [{ ...facts, gpus: 2, lanes: 2 }] });
  answer.lanes = { ...await read(), colours: await panels.first().locator(".scail2-plan-lane").evaluateAll(
    (lines) => lines.map((line) => line.offsetHeight > 0 && getComputedStyle(line).backgroundColor)) };
  if (screenshot) await page.screenshot({ path: screenshot.replace(".png", "_lanes.png") });
  answer.other_gpus = [];
  for (const gpus of ["1", "2"]) {
    await page.evaluate(([sample, gpus]) => {
      const { graph } = window.comfyAPI.app.app, node = graph.getNodeById(sample);
      const loader = node.getInputNode(0) ?? window.LiteGraph.createNode("SCAIL2LoadModel");
      if (!loader.graph) graph.add(loader);
      loader.widgets.find(({ name }) => name === "gpus").value = gpus;
      loader.connect(0, node, 0);
    }, [sample, gpus]);
    answer.other_gpus.push((await read()).lines);
    await executed(page, sample, { scail2_plan: [{ ...facts, gpus: 2, lanes: 2 }] });
  }
  await page.evaluate((sample) => {
    const { graph } = window.comfyAPI.app.app;
    graph.remove(graph.getNodeById(sample).getInputNode(0));
  }, sample);
  await executed(page, sample, { scail2_plan: [{ ...facts, gpus: 1, lanes: 0 }] });
  await change(sample, "plan", '[{"segments": "2-3", "seed": 7}]');
  await change(sample, "remake", "3");
  await drawn(page);
  answer.named = await panels.first().getByRole("listitem").allTextContents();
  if (screenshot) await page.screenshot({ path: screenshot.replace(".png", "_cuts.png") });
  await change(sample, "plan", '[{"segments": 99, "seed": 7}]');
  answer.wrong_plan = await read();
  for (const name of ["plan", "remake"]) await change(sample, name, "");
  await drawn(page);
  await panels.first().getByRole("listitem").first().focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("End");
  answer.focused = (await read()).told;
  await change(sample, "scene_cuts", "soon");
  answer.wrong_cuts = await read();
  await change(sample, "scene_cuts", "");
  await change(sample, "overlap", 77);
  answer.wrong_overlap = await read();
  if (screenshot) await page.screenshot({ path: screenshot.replace(".png", "_wrong.png") });
  await panels.first().getByRole("button").first().click();
  answer.mended = await read();
  // the page's own number widgets round to 32; a file or a program can bring anything
  await page.evaluate((id) => {
    const node = window.comfyAPI.app.app.graph.getNodeById(id);
    node.widgets.find((widget) => widget.name === "width").value = 500;
    node.onConfigure?.({});
  }, reference);
  answer.wrong_size = await read();
  await still(page);
  await page.mouse.click(1300, 1400); // beside everything: the page looks for changes then
  const offers = page.getByRole("region", { name: "Sizes that fit" });
  answer.offers = await offers.getByRole("button").allTextContents();
  await offers.getByRole("button").last().click();
  answer.right_size = await read();
  for (const key of ["z", "y"]) {
    await step(page, key);
    answer[key] = await page.evaluate((id) => window.comfyAPI.app.app.graph.getNodeById(id).widgets
      .find(({ name }) => name === "width").value, reference);
    answer[`${key}_offers`] = await offers.getByRole("button").allTextContents();
  }

  const serialize = () => page.evaluate(() => window.comfyAPI.app.app.graph.serialize());
  answer.saved = await serialize();
  answer.output = (await page.evaluate(() => window.comfyAPI.app.app.graphToPrompt())).output;
  await page.evaluate((saved) => window.comfyAPI.app.app.loadGraphData(saved), answer.saved);
  // the panels may stand in another order
  answer.reloaded = [await read(0), await read(1)].find(({ lines }) => lines[0]?.includes("segments of"));
  answer.saved_again = await serialize();
  await page.evaluate(async (sample) => {
    const { app } = window.comfyAPI.app;
    const { node } = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(sample)]));
    app.canvas.openSubgraph(node.subgraph, node);
  }, sample);
  answer.inside = await read();
  await change(reference, "height", 544);
  answer.changed_outside = await read();
  await page.evaluate(() => window.comfyAPI.app.app.canvas.setGraph(window.comfyAPI.app.app.rootGraph));
  await page.evaluate((saved) => window.comfyAPI.app.app.loadGraphData(saved), answer.saved);
  await read();
  answer.listeners = await page.evaluate((id) => {
    const { graph } = window.comfyAPI.app.app, node = graph.getNodeById(id);
    const widget = node.widgets.find((found) => found.name === "overlap"), during = widget.callback;
    graph.remove(node);
    return { during: during.name, after: widget.callback?.name ?? null };
  }, sample);
  await drawn(page);
  answer.left = await panels.count();
  return answer;
}
