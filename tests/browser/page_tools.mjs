// What scenarios need often. Functions that run in the page take their arguments through `page.evaluate`.

/** An empty graph. */
export async function clear(page) {
  await page.evaluate(() => window.comfyAPI.app.app.graph.clear());
}

/** Add a node -> its id. */
export async function addNode(page, type, widgets = {}, pos = [50, 50]) {
  return page.evaluate(([type, widgets, pos]) => {
    const { app } = window.comfyAPI.app;
    const node = window.LiteGraph.createNode(type);
    node.pos = pos;
    app.graph.add(node);
    for (const [name, value] of Object.entries(widgets)) node.widgets.find((w) => w.name === name).value = value;
    return node.id;
  }, [type, widgets, pos]);
}

/** What the server says when a node has run, without a run. */
export async function executed(page, id, output) {
  await page.evaluate(([id, output]) => window.comfyAPI.app.app.graph.getNodeById(id).onExecuted(output), [id, output]);
  await page.waitForTimeout(200);
}

/** Press Ctrl+Z or Ctrl+Y, as "z" or "y", and wait for the step. */
export async function step(page, key) {
  const steps = () => page.evaluate(() =>
    window.comfyAPI.app.app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length);
  const before = await steps();
  await page.keyboard.press(`Control+${key}`);
  await page.waitForFunction((wanted) => {
    const tracker = window.comfyAPI.app.app.extensionManager.workflow.activeWorkflow.changeTracker;
    return tracker.undoQueue.length === wanted && !tracker._restoringState;
  }, before + (key === "z" ? -1 : 1), { timeout: 10000 });
  await page.waitForTimeout(150); // the panels show themselves again
}
