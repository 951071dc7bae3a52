// Runs posted from the page: {graph (API format), sampler (its id), slow (inputs of the sampler for a run that can be
// reloaded and cancelled), screenshot?} -> what the page showed.
import { drawn, ready } from "./page_tools.mjs";

const LONG = { timeout: 60000 }; // the server computes, on whatever machine this is

export default async function timelineRun(page, { graph, sampler, slow, screenshot }) {
  const picture = (name) => screenshot && page.screenshot({ path: `${screenshot}-${name}.png` });
  await load(page, graph);
  await look(page, sampler);
  const answer = { ...await whole(page, picture), played: await played(page) };
  answer.remade = await remade(page, sampler, picture);
  await set(page, sampler, slow);
  Object.assign(answer, await reloaded(page, sampler, picture));
  answer.cancelled = await cancelled(page);
  await picture("cancelled");
  return answer;
}

/** A whole run -> every state that was seen, and the last one. */
async function whole(page, picture) {
  await watch(page);
  await queue(page);
  await reached(page, "done");
  const [seen, done] = [await page.evaluate(() => window.seen), await shown(page)];
  await page.waitForFunction(() => [...document.querySelectorAll(".scail2-seam")].slice(1).every((one) => one.textContent),
    undefined, LONG);
  await picture("done");
  return { seen, done, seams: await page.locator(".scail2-seam").allTextContents() };
}

/** The finished parts, one after the other. */
async function played(page) {
  await page.getByRole("button", { name: "Play the finished part" }).click();
  await page.waitForFunction(() => {
    const { currentSrc, videoWidth } = document.querySelector(".scail2-timeline video");
    return /0003-/.test(currentSrc) && videoWidth;
  }, undefined, LONG);
  const found = await page.locator(".scail2-timeline video").evaluate((video) => [video.videoWidth, video.hidden]);
  await page.locator(".scail2-timeline").getByRole("button", { name: "Close" }).click();
  return found;
}

/** Segment 2 made again, through the form. */
async function remade(page, sampler, picture) {
  await page.locator(".scail2-block").nth(1).click();
  await page.getByLabel("Seed for remake").fill("9");
  await page.getByLabel("What is made again").selectOption("only these");
  await picture("form");
  await page.getByRole("button", { name: "Make it again" }).click();
  await drawn(page);
  await picture("written");
  const widgets = await page.evaluate(async (id) => (await window.comfyAPI.app.app.graphToPrompt()).output[id].inputs,
    sampler);
  await queue(page);
  await page.waitForSelector(".scail2-block[data-state=kept]", LONG);
  await reached(page, "done");
  return { widgets, ...await shown(page) };
}

/** A run in whose middle the page is loaded again. */
async function reloaded(page, sampler, picture) {
  await queue(page);
  await page.waitForFunction(() => document.querySelector(".scail2-block")?.dataset.state === "done"
    && document.querySelector(".scail2-timeline").dataset.state === "running", undefined, LONG);
  const before = await shown(page);
  await page.reload();
  await ready(page);
  await page.waitForSelector(".scail2-block", { state: "attached", ...LONG });
  await look(page, sampler);
  const [after, running] = [await shown(page), await page.locator(".scail2-timeline[data-state=running]").count()];
  await picture("reloaded");
  return { before, after, running };
}

async function cancelled(page) {
  await page.evaluate(() => window.comfyAPI.api.api.interrupt());
  await reached(page, "cancelled");
  return shown(page);
}

const reached = (page, state) => page.waitForSelector(`.scail2-timeline[data-state=${state}]`, LONG);

const queue = (page) => page.evaluate(() => window.comfyAPI.app.app.queuePrompt(0));

/** What a user sees of every block, and the line above them. A thumbnail counts when the browser has drawn it. */
async function shown(page) {
  await page.waitForFunction(() => [...document.querySelectorAll(".scail2-block > img")].every((one) => one.complete));
  return page.evaluate(() => ({
    line: document.querySelector(".scail2-line").textContent,
    blocks: [...document.querySelectorAll(".scail2-block")].map((block) => {
      const { hidden, naturalWidth, src } = block.querySelector("img");
      return { state: block.dataset.state, thumbnail: !hidden && naturalWidth > 1 ? src : null };
    }),
  }));
}

/** Note every new picture of the blocks: [state, whether there is a thumbnail] of each. */
async function watch(page) {
  await page.evaluate(() => {
    window.seen = [];
    new MutationObserver(() => {
      const now = [...document.querySelectorAll(".scail2-block")].map((block) =>
        [block.dataset.state, !block.querySelector("img").hidden]);
      if (now.length && JSON.stringify(now) !== JSON.stringify(window.seen.at(-1))) window.seen.push(now);
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
  });
}

async function load(page, graph) {
  await page.evaluate(async (graph) => {
    const { app } = window.comfyAPI.app;
    await app.loadApiJson(graph, "timeline");
    for (const node of app.graph.nodes) {
      for (const widget of node.widgets ?? []) if (widget.name.includes("control")) widget.value = "fixed";
    }
    await app.loadGraphData(app.graph.serialize()); // which gives it an id of its own
  }, graph);
}

/** The sampler fills the window. */
async function look(page, id) {
  await page.evaluate((id) => {
    const { app } = window.comfyAPI.app;
    const node = app.graph.getNodeById(id);
    const scale = Math.min(1, (innerHeight - 120) / (node.size[1] + 380));
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [100 / scale - node.pos[0], 90 / scale - node.pos[1]];
    app.canvas.setDirty(true, true);
  }, id);
  await drawn(page);
}

/** Change widgets, and wait until the page has stored them for its next opening. */
async function set(page, id, values) {
  await page.evaluate(([id, values]) => {
    const { app } = window.comfyAPI.app;
    for (const [name, value] of Object.entries(values)) {
      app.graph.getNodeById(id).widgets.find((widget) => widget.name === name).value = value;
    }
    app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState();
  }, [id, values]);
  await page.waitForFunction(([id, values]) => Object.entries(localStorage).some(([key, text]) => {
    if (!key.startsWith("Comfy.Workflow.Draft.")) return false;
    const stored = JSON.parse(JSON.parse(text).data).nodes.find((node) => String(node.id) === String(id));
    return Object.values(values).every((value) => stored?.widgets_values.includes(value));
  }), [id, values]);
}
