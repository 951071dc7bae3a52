// The labels of the further masks' inputs, which the page calls the same on both sides: {screenshot?}
import { addNode, drawn, steps, still } from "./page_tools.mjs";

export default async function identitySlots(page, { screenshot }) {
  const id = await addNode(page, "SCAIL2Identities", {}, [500, 100]);
  const mask = await addNode(page, "SolidMask", {}, [100, 100]);
  const connect = (name) => page.evaluate(([id, mask, name]) => {
    const { graph } = window.comfyAPI.app.app, node = graph.getNodeById(id);
    graph.getNodeById(mask).connect(0, node, node.inputs.findIndex((input) => input.name === name));
  }, [id, mask, name]);
  /** What LiteGraph draws, or what the page has in the nodes' elements. */
  const shown = async () => {
    await drawn(page);
    return page.evaluate(() => {
      const elements = [...document.querySelectorAll(".lg-slot--input")].map((slot) => slot.textContent.trim());
      const inputs = window.comfyAPI.app.app.graph.nodes.flatMap((node) => node.inputs)
        .map((input) => input.renderingLabel ?? input.label);
      return (window.LiteGraph.vueNodesMode ? elements : inputs).filter((text) => /person|dancer/.test(text)).sort();
    });
  };
  const saved = () => page.evaluate(() => window.comfyAPI.app.app.graph.serialize());

  const found = { made: await shown() };
  await connect("more_driving_masks.person_2");
  await connect("more_driving_masks.person_3");
  await connect("more_reference_masks.person_2");
  found.grown = await shown();
  if (screenshot) await page.screenshot({ path: screenshot });
  found.names = (await saved()).nodes.find((node) => String(node.id) === String(id)).inputs.map(({ name }) => name).filter((name) =>
    name.includes("person"));

  await page.evaluate((id) => {
    const { app } = window.comfyAPI.app;
    app.canvas.selectNode(app.graph.getNodeById(id));
    app.canvas.copyToClipboard();
    app.canvas.pasteFromClipboard();
  }, id);
  found.pasted = await shown();

  // a file from elsewhere has no labels, or the page's own; one of the user's stays
  const form = await saved();
  const node = form.nodes.find((one) => String(one.id) === String(id));
  const inputs = Object.fromEntries(node.inputs.map((input) => [input.name, input]));
  delete inputs["more_driving_masks.person_2"].label;
  inputs["more_driving_masks.person_3"].label = "person_3";
  inputs["more_reference_masks.person_2"].label = "the dancer";
  node.size = [400, 600]; // Nodes 2.0 rounds a broken number itself
  form.nodes = form.nodes.filter((one) => one.type !== node.type || one === node);
  await page.evaluate((form) => window.comfyAPI.app.app.loadGraphData(form), form);
  await still(page);
  found.loaded = await shown();
  found.steps = await steps(page);
  return found;
}
