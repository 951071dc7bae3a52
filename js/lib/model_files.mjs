// The model files of the graph that is open, in one list over the page, when some are missing: ComfyUI refuses such a graph
// with an error for each loader. The list is outside of the graph because loaders may lie in subgraphs, or below a form.
import { app } from "../../../scripts/app.js";
import { askAnew } from "./ask.mjs";
import { element } from "./dom.mjs";

const MARKS = { there: "✓", incomplete: "!", missing: "✕" };
const CLASSES = { there: "", incomplete: "scail2-warning", missing: "scail2-error" };
let root = null, closed = null; // closed: what was wanting when the user closed the list

/** Show the list if files are wanting, or if it is shown already. again: the user has asked, so show it anew. */
export async function look(again = false) {
  const prompt = loaders();
  if (!Object.values(prompt).some(({ class_type: type }) => type.startsWith("SCAIL2"))) return close();
  let answer;
  try {
    answer = await askAnew("/scail2/files", { prompt });
  } catch {
    return; // the server is away; what it says when it is back is as good
  }
  const wanting = answer.files.filter(({ state }) => state !== "there").map(({ text }) => text).join();
  if (!root && (answer.ok || (!again && wanting === closed))) return;
  show(answer, wanting);
}

/** The nodes that run, as a prompt has them: those with names of files, in subgraphs too. */
function loaders() {
  const { rootGraph } = app;
  return Object.fromEntries([rootGraph, ...rootGraph.subgraphs.values()].flatMap((graph) => graph.nodes
    .filter((node) => node.mode === 0 && node.comfyClass)
    .map((node) => [`${graph.id}:${node.id}`, { class_type: node.comfyClass, inputs: Object.fromEntries(
      (node.widgets ?? []).filter(({ name }) => /(^|_)(name|file)$/.test(name)).map(({ name, value }) => [name, value])) }])));
}

function show({ files, text, ok }, wanting) {
  const [heading] = text.split("\n");
  root ??= document.body.appendChild(element("aside", { class: "scail2-panel scail2-files", "aria-label": "Model files" }));
  const button = (text, onclick) => element("button", { type: "button", text, onclick });
  root.replaceChildren(
    element("b", { text: ok ? `${heading} The graph can run.` : heading, role: "status" }),
    element("ul", {}, files.map(line)),
    element("div", { class: "scail2-head" },
      ok ? null : element("span", { text: "Put each file into its folder, then look again." }),
      ok ? null : button("Look again", lookAgain),
      button("Close", () => { closed = wanting; close(); })));
}

function line({ file, folder, state, size, url, text }) {
  const name = url ? element("a", { href: url, target: "_blank", rel: "noopener", text: file }) : element("b", { text: file });
  const where = state === "there" ? ["is there"]
    : state === "incomplete" ? [text.slice(text.indexOf(" has only") + 1).split(", from")[0]]
      : [size ? `${size}, ` : "", "into ", element("code", { text: folder })];
  return element("li", { class: CLASSES[state] },
    element("span", { class: "scail2-mark", "aria-hidden": "true", text: MARKS[state] }), element("span", {}, name, " ", where));
}

/** The loaders' lists too, so that the graph runs when all is there. */
async function lookAgain() {
  await app.refreshComboInNodes(); // calls `look` when it is done
}

function close() {
  root?.remove();
  root = null;
}
