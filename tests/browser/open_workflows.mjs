// Opens workflows and says what the page made of them: {workflows: [{name, content, screenshot?}]}
//   -> [{name, prompt, saved, boxes}]
// prompt: API format as the frontend would post it; saved: UI format as it would save it; boxes: each node's place and
// the least size that its contents need.

export default async function openWorkflows(page, { workflows }) {
  const answers = [];
  for (const { name, content, screenshot } of workflows) {
    const answer = await page.evaluate(open, content);
    if (screenshot) await picture(page, screenshot);
    answers.push({ name, ...answer });
  }
  return answers;
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
