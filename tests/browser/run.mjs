// Runs a scenario in the real frontend. Job as JSON on stdin, answer as JSON on stdout:
// {url, chromium, playwright, width, height, scale, scenario, given} -> {answer, messages, requests}
// scenario: path of a module whose default export is async (page, given) => answer, with `page` ready.
// messages: warnings and errors of the page. requests: addresses outside the server.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const job = JSON.parse(readFileSync(0, "utf8"));
const { chromium } = createRequire(import.meta.url)(job.playwright);
const { default: scenario } = await import(pathToFileURL(job.scenario));

const browser = await chromium.launch({ executablePath: job.chromium, args: ["--no-sandbox"] });
try {
  const context = await browser.newContext({
    viewport: { width: job.width, height: job.height }, deviceScaleFactor: job.scale,
  });
  const page = await context.newPage();
  const messages = [];
  const requests = [];
  page.on("console", (entry) => {
    if (["warning", "error"].includes(entry.type())) messages.push(entry.text());
  });
  page.on("pageerror", (error) => messages.push(String(error)));
  page.on("request", (request) => {
    const address = request.url();
    if (/^https?:/.test(address) && !address.startsWith(job.url)) requests.push(address);
  });
  await page.goto(job.url);
  await page.waitForFunction(ready, undefined, { timeout: 60000 });
  const answer = await scenario(page, job.given);
  process.stdout.write(JSON.stringify({ answer, messages, requests }));
} finally {
  await browser.close();
}

// the page registers the nodes and opens a graph of its own after it calls itself ready
function ready() {
  const app = window.comfyAPI?.app?.app;
  return app?.isGraphReady && app.canvas?.canvas && window.LiteGraph.registered_node_types.SaveVideo
    && app.graph.nodes.length > 0;
}
