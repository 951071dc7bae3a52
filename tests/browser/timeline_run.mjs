// A run posted from the page: {graph (API format), slow (inputs of the sampler for a run that can be watched),
// screenshot?} -> what the page showed.
import { clear, drawn } from "./page_tools.mjs";

const states = (page) => page.evaluate(() =>
  [...document.querySelectorAll(".scail2-block")].map((block) => block.dataset.state));

/** What a user sees of every block, but for how far a step is. */
const picture = (page) => page.evaluate(() => [...document.querySelectorAll(".scail2-block")].map((block) => ({
  state: block.dataset.state, thumbnail: Boolean(block.querySelector("img").src),
})));

const line = (page) => page.locator(".scail2-line").textContent();

export default async function timelineRun(page, { graph, sampler, slow, screenshot }) {
  await load(page, graph);
  await look(page, sampler);
  const answer = {};

  // a whole run, watched
  await watch(page);
  await queue(page);
  await page.waitForSelector(".scail2-timeline[data-state=done]", { timeout: 25000 });
  answer.seen = await page.evaluate(() => window.seen);
  answer.done = { blocks: await picture(page), line: await line(page) };
  await page.waitForFunction(() => [...document.querySelectorAll(".scail2-seam")].slice(1).every((one) => one.textContent),
    undefined, { timeout: 30000 });
  answer.seams = await page.locator(".scail2-seam").allTextContents();
  if (screenshot) await page.screenshot({ path: `${screenshot}-done.png` });

  // played
  await page.getByRole("button", { name: "Play the finished part" }).click();
  await page.waitForFunction(() => /0003-/.test(document.querySelector(".scail2-timeline video").currentSrc),
    undefined, { timeout: 20000 }); // one part after the other
  answer.played = await page.locator(".scail2-timeline video").evaluate((video) => [video.videoWidth, video.hidden]);
  await page.locator(".scail2-timeline").getByRole("button", { name: "Close" }).click();

  // reloaded in mid-run
  await set(page, sampler, slow);
  await page.waitForTimeout(1500); // until the page has stored the workflow
  await queue(page);
  await page.waitForFunction(() => document.querySelector(".scail2-block")?.dataset.state === "done"
    && document.querySelector(".scail2-timeline").dataset.state === "running", undefined, { timeout: 25000 });
  answer.before = await picture(page);
  await page.reload();
  await page.waitForSelector(".scail2-block", { state: "attached", timeout: 25000 });
  await look(page, sampler);
  answer.after = await picture(page);
  if (screenshot) await page.screenshot({ path: `${screenshot}-reloaded.png` });

  // cancelled
  await page.evaluate(() => window.comfyAPI.api.api.interrupt());
  await page.waitForSelector(".scail2-timeline[data-state=cancelled]", { timeout: 25000 });
  answer.cancelled = { blocks: await picture(page), line: await line(page) };
  if (screenshot) await page.screenshot({ path: `${screenshot}-cancelled.png` });

  // segment 2 made again, through the form
  await set(page, sampler, { seed: 3, steps: 2, jobs_limit: 99 }); // else ComfyUI gives the video that it remembers
  await queue(page);
  await page.waitForSelector(".scail2-timeline[data-state=done]", { timeout: 25000 });
  answer.kept = await states(page);
  await page.locator(".scail2-block").nth(1).click();
  await page.getByLabel("Seed for remake").fill("9");
  await page.getByLabel("What is made again").selectOption("only these");
  if (screenshot) await page.screenshot({ path: `${screenshot}-form.png` });
  await page.getByRole("button", { name: "Make it again" }).click();
  if (screenshot) await page.screenshot({ path: `${screenshot}-written.png` });
  answer.widgets = await widgets(page, sampler);
  await queue(page);
  await page.waitForFunction(() => document.querySelector(".scail2-block")?.dataset.state === "kept"
    && document.querySelectorAll(".scail2-block")[1].dataset.state === "done" && document.querySelector(".scail2-timeline").dataset.state === "done", undefined, { timeout: 25000 });
  answer.remade = await states(page);
  return answer;
}

async function load(page, graph) {
  await clear(page);
  await page.evaluate(async (graph) => {
    const { app } = window.comfyAPI.app;
    app.loadApiJson(graph, "timeline");
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

const queue = (page) => page.evaluate(() => window.comfyAPI.app.app.queuePrompt(0));

async function set(page, id, values) {
  await page.evaluate(([id, values]) => {
    const { app } = window.comfyAPI.app;
    for (const [name, value] of Object.entries(values)) {
      app.graph.getNodeById(id).widgets.find((widget) => widget.name === name).value = value;
    }
    app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState();
  }, [id, values]);
}

/** Values in the prompt that the page would post. */
async function widgets(page, id) {
  return page.evaluate(async (id) => (await window.comfyAPI.app.app.graphToPrompt()).output[id].inputs, id);
}

/** Note every new picture of the blocks' states. */
async function watch(page) {
  await page.evaluate(() => {
    window.seen = [];
    new MutationObserver(() => {
      const now = JSON.stringify([...document.querySelectorAll(".scail2-block")].map((block) => block.dataset.state));
      if (now !== "[]" && now !== JSON.stringify(window.seen.at(-1))) window.seen.push(JSON.parse(now));
    }).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-state"] });
  });
}
