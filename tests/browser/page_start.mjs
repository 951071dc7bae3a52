// How long the page takes until it can be used, in turns with the pack's extension and with an empty file in its place:
// {script, turns} -> {with, without: [milliseconds], bytes: {file: size}} of new pages with empty caches.

export default async function pageStart(page, { script, turns }) {
  const browser = page.context().browser(), url = new URL(page.url()).origin;
  const answer = { with: [], without: [], bytes: {} };
  for (let turn = 0; turn < 2 * turns; turn += 1) {
    const kind = turn % 2 ? "with" : "without";
    const context = await browser.newContext();
    const fresh = await context.newPage();
    await fresh.route(`**${script}`, (route) => (kind === "with" ? route.continue()
      : route.fulfill({ contentType: "text/javascript", body: "" })));
    await fresh.goto(url);
    await fresh.waitForFunction(() => window.comfyAPI?.app?.app?.isGraphReady, undefined, { polling: "raf", timeout: 60000 });
    answer[kind].push(await fresh.evaluate(() => performance.now()));
    if (kind === "with") {
      answer.bytes = await fresh.evaluate((folder) => Object.fromEntries(performance.getEntriesByType("resource")
        .filter(({ name }) => name.includes(folder)).map((entry) => [entry.name, entry.decodedBodySize])),
      script.replace(/[^/]+$/, ""));
    }
    await context.close();
  }
  return answer;
}
