// How long the page takes until it can be used, in turns with the pack's extension and with a small file in its place,
// which the server sends too: {script, turns} -> {with, without: [milliseconds], bytes: {file: size}} of new pages with
// empty caches; and alone: [milliseconds] to fetch and run it when nothing else is going on.
const SMALL = "/scripts/defaultGraph.js";

export default async function pageStart(page, { script, turns }) {
  const browser = page.context().browser(), url = new URL(page.url()).origin;
  const answer = { with: [], without: [], bytes: {}, alone: await alone(page, script) };
  for (let turn = 0; turn < 2 * turns; turn += 1) {
    const kind = [0, 3].includes(turn % 4) ? "with" : "without"; // the second of two is often the slower one
    const context = await browser.newContext();
    const fresh = await context.newPage();
    await fresh.route(`**${script}`, (route) => route.continue({ url: kind === "with" ? url + script : url + SMALL }));
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

/** As a new module each time; it ends with the page's refusal to register it again. */
async function alone(page, script) {
  return page.evaluate(async (script) => {
    const times = [];
    for (let turn = 0; turn < 30; turn += 1) {
      const begun = performance.now();
      await import(`${script}?again=${begun}`).catch(() => {});
      times.push(performance.now() - begun);
      await new Promise((done) => setTimeout(done, 50));
    }
    return times;
  }, script);
}
