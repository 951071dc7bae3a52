// Panels that wait for the server: {facts, cards} -> what they show while a widget is dragged, an answer is late, the
// server is away, and when it is back.
import { addNode, drawn, executed } from "./page_tools.mjs";

export default async function serverAway(page, { facts, cards, screenshot }) {
  const sample = await addNode(page, "SCAIL2SampleVideo", {}, [420, 60]);
  await executed(page, sample, { scail2_plan: [facts] });
  const panel = page.getByRole("region", { name: "Plan of the segments" });
  await panel.getByRole("list").waitFor();
  const asked = [];
  page.on("request", note);
  function note(request) {
    if (request.url().endsWith("/scail2/plan")) asked.push(JSON.parse(request.postData()).values.segment_length);
  }
  const read = async () => ({
    lines: await panel.locator(".scail2-plan > div:not([class])").allTextContents(),
    pieces: await panel.getByRole("listitem").count(), note: await panel.getByRole("status").allTextContents(),
  });
  const set = (values, pause = 0) => page.evaluate(async ([id, values, pause]) => {
    const { app } = window.comfyAPI.app;
    const node = app.graph.getNodeById(id), widget = node.widgets.find(({ name }) => name === "segment_length");
    for (const value of values) {
      widget.value = value;
      widget.callback?.(value, app.canvas, node);
      if (pause) await new Promise((done) => setTimeout(done, pause));
    }
  }, [sample, values, pause]);
  const whenAsked = async (count) => {
    while (asked.length < count) await page.waitForTimeout(20);
  };
  const answer = {};

  // a drag: values from 341 down, one in each frame of the screen
  const dragged = Array.from({ length: 60 }, (_, index) => 341 - 4 * index);
  const begun = Date.now();
  await set(dragged, 16);
  await drawn(page);
  answer.drag = { asked: [...asked], ms: Date.now() - begun, last: dragged.at(-1), ...await read() };

  // an answer that is late
  asked.length = 0;
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  await page.route("**/scail2/plan", async (route) => {
    await held;
    await route.continue();
  });
  await page.waitForTimeout(200);
  const before = await read();
  await set([61]);
  await whenAsked(1);
  await set([65, 69, 73], 30);
  answer.late = { before, during: await read() };
  release();
  await drawn(page);
  answer.late.after = await read();
  answer.late.asked = [...asked];
  await page.unroute("**/scail2/plan");

  // the server is away, then back
  await page.route("**/scail2/**", (route) => route.abort());
  await set([77]);
  await drawn(page);
  answer.away = await read();
  if (screenshot) await page.screenshot({ path: screenshot });
  await page.unroute("**/scail2/**");
  await page.evaluate(() => window.comfyAPI.api.api.dispatchEvent(new CustomEvent("reconnected")));
  await drawn(page);
  answer.back = await read();
  page.off("request", note);
  await page.route("**/scail2/plan", (route) => route.fulfill({ status: 500, body: "500" }));
  await set([33]);
  await drawn(page);
  answer.broken = await read();
  await page.unroute("**/scail2/plan");
  answer.identities = await identities(page, cards);
  return answer;
}

async function identities(page, cards) {
  const id = await addNode(page, "SCAIL2Identities", {}, [900, 60]);
  await executed(page, id, { scail2_identities: cards });
  const table = page.getByRole("table", { name: "Who is driven by whom" });
  const select = table.getByRole("combobox").first();
  await select.waitFor();
  const read = async () => {
    await drawn(page);
    return [await select.inputValue(), await page.locator(".scail2-identities output").textContent(),
      await page.evaluate((id) => window.comfyAPI.app.app.graph.getNodeById(id).widgets
        .find(({ name }) => name === "binding").value, id)];
  };
  await page.route("**/scail2/**", (route) => route.abort());
  await select.selectOption("2");
  const away = await read();
  await page.unroute("**/scail2/**");
  await select.selectOption("2");
  return { away, back: await read() };
}
