// What scenarios need often. Functions that run in the page take their arguments through `page.evaluate`.

/** Wait for the frontend. It registers the nodes and opens a graph of its own after it calls itself ready. */
export async function ready(page) {
  await page.waitForFunction(() => {
    const app = window.comfyAPI?.app?.app;
    return app?.isGraphReady && app.canvas?.canvas && window.LiteGraph.registered_node_types.SaveVideo
      && app.graph.nodes.length > 0 && !app.extensionManager.spinner;
  }, undefined, { timeout: 60000 });
}

/** An empty graph, seen from where a new page sees it, with nothing known of runs. */
export async function clear(page) {
  await page.evaluate(() => {
    const { app } = window.comfyAPI.app;
    document.activeElement?.blur();
    app.canvas.setGraph(app.rootGraph);
    app.clean();
    app.rootGraph.clear();
    app.canvas.ds.reset();
  });
  await drawn(page);
}

/** Wait until the page shows what has been changed, answers of the server to its panels included. */
export async function drawn(page) {
  const frames = () => page.evaluate(async () => {
    for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
  });
  await frames();
  await page.waitForFunction(() => !document.querySelector(".scail2-panel [aria-busy=true]"), undefined, { timeout: 10000 });
  await frames();
}

/** Queue the graph, and wait until the server has run it; for another end than this one it throws. */
export async function run(page, end = "execution_success") {
  await page.evaluate((end) => new Promise((resolve, reject) => {
    const { api } = window.comfyAPI.api;
    for (const type of ["execution_success", "execution_error"]) {
      api.addEventListener(type, ({ detail }) => {
        if (type === end) resolve();
        else reject(new Error(detail.exception_message ?? type));
      }, { once: true });
    }
    window.comfyAPI.app.app.queuePrompt(0);
  }), end);
  await drawn(page);
}

const HEARING = ["SCAIL2Identities", "SCAIL2Preflight", "SCAIL2MotionTransfer", "SCAIL2SampleVideo"];

/** Add a node -> its id, when it hears of runs if it does. */
export async function addNode(page, type, widgets = {}, pos = [50, 50]) {
  const id = await page.evaluate(([type, widgets, pos]) => {
    const { app } = window.comfyAPI.app;
    const node = window.LiteGraph.createNode(type);
    node.pos = pos;
    app.graph.add(node);
    for (const [name, value] of Object.entries(widgets)) node.widgets.find((w) => w.name === name).value = value;
    return node.id;
  }, [type, widgets, pos]);
  if (HEARING.includes(type)) await hearing(page, id);
  return id;
}

/** Wait until a node hears of runs: the first one of its kind has its panels imported. */
export async function hearing(page, id) {
  await page.waitForFunction((id) => window.comfyAPI.app.app.graph.getNodeById(id).onExecuted, id);
}

/** What the server says when a node has run, without a run. */
export async function executed(page, id, output) {
  await page.evaluate(([id, output]) => window.comfyAPI.app.app.graph.getNodeById(id).onExecuted(output), [id, output]);
  await drawn(page);
}

/** Wait until nodes have the sizes that their panels need: a size that changes later is a step of undo. */
export async function still(page) {
  const form = () => page.evaluate(() => JSON.stringify(window.comfyAPI.app.app.graph.serialize()));
  for (let before = null, now = await form(); now !== before;) {
    await page.waitForTimeout(100);
    [before, now] = [now, await form()];
  }
}

/** Steps of undo, with what the page would count as one at its next look. */
export async function steps(page) {
  return page.evaluate(() => {
    const { changeTracker } = window.comfyAPI.app.app.extensionManager.workflow.activeWorkflow;
    changeTracker.captureCanvasState();
    return changeTracker.undoQueue.length;
  });
}

/** Press Ctrl+Z or Ctrl+Y, as "z" or "y", and wait for the step. */
export async function step(page, key) {
  const before = await page.evaluate(() =>
    window.comfyAPI.app.app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length);
  await page.keyboard.down("Control");
  await drawn(page);
  await page.keyboard.down(key);
  await page.waitForFunction((wanted) => {
    const tracker = window.comfyAPI.app.app.extensionManager.workflow.activeWorkflow.changeTracker;
    return tracker.undoQueue.length === wanted && !tracker._restoringState;
  }, before + (key === "z" ? -1 : 1), { timeout: 10000 });
  // a key that is up again before the next frame has the page count a step, because nodes have another order then
  for (const held of [key, "Control"]) await page.keyboard.up(held);
  await still(page); // the panels show themselves again
}
