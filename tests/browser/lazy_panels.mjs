// A page that opens without the pack's nodes: {findings} -> the pack's files that it has loaded, and how panels come that
// are imported while the page goes on.
import { addNode, clear, drawn, ready, steps, still } from "./page_tools.mjs";

const OURS = /\/extensions\/scail2\/(.*)$/;

export default async function lazyPanels(page, { findings, screenshot }) {
  await page.evaluate(() => [localStorage, sessionStorage].forEach((storage) => storage.clear()));
  const files = [];
  const note = (request) => files.push(...OURS.exec(request.url())?.slice(1) ?? []);
  page.on("request", note);
  await page.reload();
  await ready(page);
  const answer = { start: [...files] };
  await clear(page);
  await addNode(page, "SCAIL2Identities", {}, [1000, 400]);
  answer.identities = [...files];
  Object.assign(answer, await late(page, findings));
  answer.all = [...files];
  page.off("request", note);
  if (screenshot) await page.screenshot({ path: screenshot });
  return { ...answer, again: await openedAgain(page) };
}

/** Nodes are made, one goes again, a run tells something and the page counts a step, all before the panels are there. */
async function late(page, findings) {
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  const modules = "**/lib/*.mjs";
  await page.route(modules, async (route) => {
    await held;
    await route.continue();
  });
  const [kept, check] = await page.evaluate((output) => {
    const { app } = window.comfyAPI.app;
    const add = (type, x) => {
      const node = window.LiteGraph.createNode(type);
      node.pos = [x, 100];
      app.graph.add(node);
      return node;
    };
    const [kept, check, gone] = [add("SCAIL2SampleVideo", 50), add("SCAIL2Preflight", 500), add("SCAIL2SampleVideo", 900)];
    app.graph.remove(gone);
    window.gone = gone;
    window.comfyAPI.api.api.dispatchEvent(new CustomEvent("executed", { detail: {
      node: String(check.id), display_node: String(check.id), output, prompt_id: "made-up" } }));
    return [kept.id, check.id];
  }, { scail2_findings: findings });
  await drawn(page);
  const before = await steps(page);
  release();
  await page.getByRole("region", { name: "Plan of the segments" }).waitFor();
  await page.getByRole("region", { name: "What the check has found" }).waitFor();
  await page.unroute(modules);
  await still(page);
  const after = await steps(page);
  const another = await addNode(page, "SCAIL2SampleVideo", {}, [70, 120]);
  await still(page);
  return page.evaluate(([kept, check, another, before, after]) => {
    const { graph } = window.comfyAPI.app.app;
    const panels = (node) => node.widgets.filter(({ name }) => name.startsWith("scail2_")).length;
    const [one, other] = [kept, another].map((id) => graph.getNodeById(id));
    const answer = { steps: [before, after], panels: [one, graph.getNodeById(check), window.gone].map(panels),
      gone: Object.hasOwn(window.gone, "onExecuted"),
      sizes: [[...one.size], [...other.size]] };
    graph.remove(other);
    return answer;
  }, [kept, check, another, before, after]);
}

/** The graph is still there when the page is loaded again: sizes as they were, and no step. */
async function openedAgain(page) {
  const sizes = () => page.evaluate(() => window.comfyAPI.app.app.graph.nodes.map(({ type, size }) => [type, ...size]));
  const before = await sizes();
  await page.evaluate(() => window.comfyAPI.app.app.graph.nodes[0].pos[1] += 10); // something to store
  await steps(page);
  await page.waitForFunction((count) => Object.entries(localStorage).some(([key, text]) =>
    key.startsWith("Comfy.Workflow.Draft.") && JSON.parse(JSON.parse(text).data).nodes.length === count), before.length);
  await page.reload();
  await ready(page);
  await page.getByRole("region", { name: "Plan of the segments" }).waitFor();
  await still(page);
  return { before, after: await sizes(), steps: await steps(page) };
}
