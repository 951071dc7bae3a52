import { addNode, executed } from "./page_tools.mjs";

export default async function checkReport(page, { findings, screenshot }) {
  const driving = await addNode(page, "LoadVideo", {}, [50, 300]);
  const identities = await addNode(page, "SCAIL2Identities", {}, [-900, 700]);
  const check = await addNode(page, "SCAIL2Preflight", {}, [500, 50]);
  await page.evaluate(([check, sources]) => {
    const { graph } = window.comfyAPI.app.app;
    const target = graph.getNodeById(check);
    for (const [name, id] of Object.entries(sources)) {
      graph.getNodeById(id).connect(0, target, target.inputs.findIndex((slot) => slot.name === name));
    }
  }, [check, { driving, identities }]);
  await executed(page, check, { scail2_findings: findings });
  const panel = page.getByRole("region", { name: "What the check has found" });
  const texts = await panel.locator("li > span:not([aria-hidden])").allTextContents();
  const headings = await panel.locator("summary").allTextContents();
  if (screenshot) await page.screenshot({ path: screenshot });
  const saved = await page.evaluate(() => window.comfyAPI.app.app.graph.serialize());
  const { output } = await page.evaluate(() => window.comfyAPI.app.app.graphToPrompt());

  /** Click "show" of an input -> where the canvas is then. */
  const show = async (input) => {
    await page.evaluate(() => {
      const { canvas } = window.comfyAPI.app.app;
      canvas.ds.scale = 0.6; // the whole node is to be seen
      canvas.centerOnNode(canvas.graph.nodes.find(({ type }) => type === "SCAIL2Preflight"));
    });
    await panel.getByTitle(`Show what is connected to ${input}`).click();
    await page.waitForTimeout(300);
    return page.evaluate(() => {
      const { canvas, rootGraph } = window.comfyAPI.app.app;
      const [node, ...more] = canvas.selectedItems;
      const { width, height } = canvas.canvas.getBoundingClientRect();
      const centre = [0, 1].map((axis) => (node.pos[axis] + node.size[axis] / 2 + canvas.ds.offset[axis]) * canvas.ds.scale);
      return { graph: canvas.graph === rootGraph ? "root" : canvas.graph.nodes.map(({ type }) => type),
        node: node.type, more: more.length, off: Math.hypot(centre[0] - width / 2, centre[1] - height / 2) };
    });
  };
  /** Put a node into a subgraph, and look at one graph or the other. */
  const wrap = (id, inside) => page.evaluate(([id, inside]) => {
    const { app } = window.comfyAPI.app;
    app.canvas.setGraph(app.rootGraph);
    const { node } = app.rootGraph.convertToSubgraph(new Set([app.rootGraph.getNodeById(id)]));
    if (inside) app.canvas.openSubgraph(node.subgraph, node);
  }, [id, inside]);

  const shown = { beside: await show("identities") };
  await wrap(driving, false);
  shown.in_a_subgraph = await show("driving");
  await wrap(check, true);
  await page.evaluate((findings) => {
    window.comfyAPI.app.app.canvas.graph.nodes[0].onExecuted({ scail2_findings: findings });
  }, findings);
  await page.waitForTimeout(500); // the graph that was opened is being fitted into the window
  shown.outside = await show("identities");
  return { texts, headings, shown, check, saved, output };
}
