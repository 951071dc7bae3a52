// Opens workflows in the real frontend and says what it made of them. Job as JSON on stdin, answer as JSON on stdout:
// {url, chromium, playwright, vue, width, height, workflows: [{name, content, screenshot?}]}
//   -> [{name, prompt, saved, boxes, messages}]
// prompt: API format as the frontend would post it; saved: UI format as it would save it; boxes: each node's place and
// the least size that its contents need; messages: warnings and errors of the page while it opened the workflow.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const job = JSON.parse(readFileSync(0, "utf8"));
const { chromium } = createRequire(import.meta.url)(job.playwright);

const browser = await chromium.launch({ executablePath: job.chromium, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: job.width ?? 1600, height: job.height ?? 900 } });
  let messages = [];
  page.on("console", (entry) => {
    if (["warning", "error"].includes(entry.type())) messages.push(entry.text());
  });
  page.on("pageerror", (error) => messages.push(String(error)));
  await page.goto(job.url);
  await page.waitForFunction(ready, undefined, { timeout: 60000 });

  const answers = [];
  for (const { name, content, screenshot } of job.workflows) {
    messages = [];
    const answer = await page.evaluate(open, content);
    if (screenshot) await picture(page, screenshot);
    answers.push({ name, ...answer, messages });
  }
  process.stdout.write(JSON.stringify(answers));
} finally {
  await browser.close();
}

// the page registers the nodes and opens a graph of its own after it calls itself ready
function ready() {
  const app = window.comfyAPI?.app?.app;
  return app?.isGraphReady && app.canvas?.canvas && window.LiteGraph.registered_node_types.SaveVideo
    && app.graph.nodes.length > 0;
}

async function open(content) {
  const { app } = window.comfyAPI.app;
  await app.loadGraphData(content);
  const { output } = await app.graphToPrompt();
  const boxes = app.graph.nodes.map((node) => ({
    id: node.id, pos: [...node.pos], size: [...node.size], least: [...node.computeSize()],
  }));
  return { prompt: output, saved: app.graph.serialize(), boxes };
}

// the graph without its notes, and nothing of the page round it
async function picture(page, path) {
  const clip = await page.evaluate(() => {
    const { app } = window.comfyAPI.app;
    app.extensionManager.focusMode = true;
    const nodes = app.graph.nodes.filter((node) => node.type !== "MarkdownNote");
    const left = Math.min(...nodes.map((node) => node.pos[0])) - 40;
    const top = Math.min(...nodes.map((node) => node.pos[1])) - 90;
    const width = Math.max(...nodes.map((node) => node.pos[0] + node.size[0])) + 40 - left;
    const height = Math.max(...nodes.map((node) => node.pos[1] + node.size[1])) + 40 - top;
    const scale = Math.min((innerWidth - 100) / width, innerHeight / height); // right of it is the menu's button
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [-left, -top];
    app.canvas.setDirty(true, true);
    return { x: 0, y: 0, width: Math.floor(width * scale), height: Math.floor(height * scale) };
  });
  await page.waitForTimeout(2500); // previews load, videos show their first frame
  await page.screenshot({ path, clip, type: "jpeg", quality: 80 });
}
