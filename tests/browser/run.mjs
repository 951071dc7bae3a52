// Runs scenarios in the real frontend: node run.mjs <playwright-core> <chromium>, then a job as JSON on each line of
// stdin, and an answer on each line of stdout:
// {url, page, width, height, scale, scenario, given} -> {answer, messages, requests}, or {error}
// page: a name. The page stays open for the next job of the same name, because loading the frontend takes seconds.
// scenario: null closes that page; else path of a module whose default export is async (page, given) => answer, with `page` ready.
// messages: warnings and errors of the page while the scenario runs. requests: addresses outside the server.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { clear, ready } from "./page_tools.mjs";

const LONGEST = 120000; // ms that a scenario may take

const [playwright, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwright);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
let open = null;

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await run(JSON.parse(line)).catch((error) => ({ error: error.stack }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
  if (answer.error) await close(); // nobody knows what state it is in
}
await browser.close();

async function run(job) {
  if (job.scenario === null) {
    await close();
    return { answer: null };
  }
  const { default: scenario } = await import(pathToFileURL(job.scenario));
  if (open?.name !== job.page) {
    await close();
    open = { name: job.page, ...await openPage(job) };
  }
  const { page, messages, requests } = open;
  await page.setViewportSize({ width: job.width, height: job.height });
  await clear(page);
  messages.length = 0; // the page has things to say of its own while it opens
  const answer = await inTime(scenario(page, job.given));
  return { answer, messages, requests: requests.splice(0) };
}

async function openPage({ url, width, height, scale }) {
  const context = await browser.newContext({ viewport: { width, height }, deviceScaleFactor: scale });
  const page = await context.newPage();
  const messages = [];
  const requests = [];
  page.on("console", (entry) => {
    if (["warning", "error"].includes(entry.type())) messages.push(entry.text());
  });
  page.on("pageerror", (error) => messages.push(String(error)));
  page.on("request", (request) => {
    const address = request.url();
    if (/^https?:/.test(address) && !address.startsWith(url)) requests.push(address);
  });
  await page.goto(url);
  await ready(page);
  return { page, messages, requests };
}

async function close() {
  await open?.page.context().close();
  open = null;
}

async function inTime(answer) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${LONGEST / 1000} s`)), LONGEST);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}
