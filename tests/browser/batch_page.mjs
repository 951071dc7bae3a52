// What a reader sees of a batch's report.html: node batch_page.mjs PLAYWRIGHT CHROMIUM FILE -> JSON on stdout.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [playwright, executablePath, file] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwright);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1400, height: 900 }, colorScheme: "dark" });
const seen = { messages: [], requests: [] };
page.on("pageerror", (error) => seen.messages.push(error.message));
page.on("console", (message) => seen.messages.push(message.text()));
page.on("dialog", (dialog) => { seen.messages.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
page.on("request", (request) => { if (!request.url().startsWith("file:")) seen.requests.push(request.url()); });
const ids = () => page.locator("tbody .id").allTextContents();

await page.goto(pathToFileURL(file).href);
await page.locator("tbody tr").first().waitFor();
seen.drawn = await page.locator("tbody tr").count();
seen.first = (await ids()).slice(0, 5);
seen.cards = await page.locator(".card").allTextContents();
seen.error = await page.locator(".error").first().textContent();
seen.dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
seen.wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
await page.getByRole("button", { name: "GPU time" }).click();
seen.longest = (await ids()).slice(0, 2);
await page.getByRole("button", { name: "GPU time" }).click();
seen.shortest = (await ids())[0];
await page.getByRole("button", { name: /^failed/ }).click();
seen.failed = await ids();
await page.getByRole("button", { name: /^failed/ }).click();
await page.getByRole("searchbox").fill("ROW00042");
seen.found = await ids();
await page.getByRole("searchbox").fill("");
await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
await page.waitForFunction((before) => document.querySelectorAll("tbody tr").length > before, seen.drawn);
seen.scrolled = await page.locator("tbody tr").count();
await browser.close();
process.stdout.write(JSON.stringify(seen));
