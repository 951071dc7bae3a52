// The table of SCAIL2Identities: who of the reference is driven by whom, who is in front, and what they are called.
// It keeps nothing of its own: the server reads what the widgets say, and makes new texts for them of each choice.
import { api } from "../../../scripts/api.js";
import { ask, asker } from "./ask.mjs";
import { element, hearWidgets, onExecuted, panel, setWidgets, widgetOf } from "./dom.mjs";
import { linked } from "./graph.mjs";

const TEXTS = ["binding", "front", "names"];
const CHANGED = "Changed since this run: run again to see it.";
const LABEL = "Who is driven by whom";

export function attach(node) {
  const state = { node, cards: [], made: {}, view: null, late: false, dragged: null, remembered: {}, drawn: null,
    asking: false, edits: Promise.resolve(), choices: 0 };
  state.send = asker("/scail2/identities", {
    answered: (view) => { state.view = view; draw(state); },
    failed: (sentence) => say(state, sentence),
    busy(yes) { state.asking = yes; tellBusy(state); },
  });
  onExecuted(node, (output) => {
    if (!output?.scail2_identities) return;
    state.cards = output.scail2_identities;
    state.made = output.scail2_texts?.[0] ?? {};
    look(state);
  });
  hearWidgets(node, [...TEXTS, "order"], () => state.cards.length && look(state));
}

/** What the widgets say now, with the people that it is about. */
function question({ node, cards }) {
  return { cards, ...Object.fromEntries(TEXTS.map((name) => [name, String(widgetOf(node, name).value ?? "")])) };
}

function look(state) {
  state.send(question(state));
  if (state.drawn) state.drawn.note.textContent = changed(state) ? CHANGED : "";
}

/** Whether a widget says something else than in the run that is shown. */
function changed({ node, made }) {
  return Object.entries(made).some(([name, text]) => !linked(node, name) && widgetOf(node, name).value !== text);
}

/** Have a choice written into the widgets, after those before it. */
function choose(state, ...change) {
  const { node, remembered } = state;
  for (const { number, name } of state.view.rows) if (name) remembered[number] = name;
  if (change[0] === "rename") remembered[change[1]] = change[2];
  state.choices += 1;
  tellBusy(state);
  state.edits = state.edits.then(async () => {
    try {
      await setWidgets(node, await ask("/scail2/identities/edit", { ...question(state), change, remembered }));
      look(state);
    } catch (error) {
      draw(state); // as it was before the choice
      say(state, `${error.message} Nothing was changed.`);
    }
    state.choices -= 1;
    tellBusy(state);
  });
}

function tellBusy({ drawn, asking, choices }) {
  drawn?.inside.setAttribute("aria-busy", String(asking || choices > 0));
}

/** The panel, from the first run on. */
function frame(state) {
  if (!state.drawn) {
    const { inside, resize } = panel(state.node, "scail2_identity_table", LABEL, "scail2-identities");
    state.drawn = { inside, body: element("div"), note: element("output"), resize }; // what stays is read out when it changes
    inside.append(state.drawn.body, state.drawn.note);
  }
  return state.drawn;
}

function say(state, sentence) {
  const { note, resize } = frame(state);
  note.textContent = sentence;
  resize();
}

function draw(state) {
  const { body, note, resize } = frame(state);
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  state.late = focused?.tagName === "INPUT" && focused.value !== focused.defaultValue;
  if (state.late) return; // a name is being written: the table is drawn after that
  body.replaceChildren(...contents(state, state.view));
  note.textContent = changed(state) ? CHANGED : "";
  // by number, because rows move
  if (focused) body.querySelector(`[data-key="${focused.dataset.key}"]`)?.focus();
  resize();
}

function contents(state, { rows, free, problem }) {
  const heads = [["Reference"], ["Name, driven by"], ["Video"], ["Front", "The person in front comes first"]]
    .map(([text, title]) => element("th", { scope: "col", text, title }));
  const given = TEXTS.filter((name) => linked(state.node, name));
  return [
    problem && element("p", { class: "scail2-warning", role: "status", text: problem }),
    given.length > 0 && element("p", { role: "status", text: `Connected, so not to be changed here: ${given.join(", ")}.` }),
    element("table", { "aria-label": LABEL },
      element("thead", {}, element("tr", {}, heads)),
      element("tbody", {}, rows.map((row, place) => rowOf(state, row, place)))),
    free.length > 0 && element("div", { class: "scail2-free" }, element("span", { text: "Drives nobody:" }),
      free.map((number) => driven(state, cardOf(state, "driving", number)))),
  ].filter(Boolean);
}

function rowOf(state, row, place) {
  const { number, driven_by: theirs } = row;
  const card = cardOf(state, "reference", number), driving = cardOf(state, "driving", theirs);
  const made = element("tr", { class: driving ? null : "scail2-hidden", "data-person": number,
    ondragover: (event) => takes(state, event, made), ondragleave: () => delete made.dataset.over,
    ondrop: (event) => dropped(state, event, number) },
    element("th", { scope: "row" }, element("span", { class: "scail2-person" }, swatch(row),
      element("span", { text: number }), element("span", {},
        picture(card, `Person ${number} of the reference`), covers(card, "reference picture")))),
    element("td", {}, nameField(state, row), choice(state, row),
      element("small", { text: driving ? `in ${driving.seen} frame${driving.seen === 1 ? "" : "s"}` : "left out" })),
    element("td", {}, driving ? [driven(state, driving), covers(driving, "driving video, where seen")] : "—"),
    element("td", {}, element("span", { class: "scail2-moves" }, driving && [
      move(state, row, place, -1), move(state, row, place, 1)])));
  return made;
}

function nameField(state, { number, name, called, driven_by: theirs }) {
  return element("input", { type: "text", value: name, placeholder: called, disabled: theirs === null
    || linked(state.node, "names"), "aria-label": `Name of person ${number}`, "data-key": `name ${number}`,
    onchange({ target }) {
      target.defaultValue = target.value;
      choose(state, "rename", number, target.value.trim());
    },
    onblur: () => state.late && setTimeout(() => draw(state)) });
}

function choice(state, { number, called, driven_by: theirs }) {
  // a binding of nobody cannot be written: an empty one means everybody
  const last = theirs !== null && state.view.rows.filter((row) => row.driven_by !== null).length === 1;
  return element("select", { "aria-label": `${called} is driven by`, "data-key": `driven ${number}`,
    disabled: linked(state.node, "binding"),
    onchange: ({ target }) => choose(state, "bind", number, target.value ? Number(target.value) : null) },
    state.cards.filter(({ side }) => side === "driving").map((other) => element("option", { value: other.number,
      selected: other.number === theirs, text: title(other) })),
    element("option", { value: "", selected: theirs === null, disabled: last, text: "nobody (leave out)" }));
}

function move(state, { number, called }, place, by) {
  const forward = by < 0, bound = state.view.rows.filter((row) => row.driven_by !== null).length;
  return element("button", { type: "button", text: forward ? "▲" : "▼", "data-key": `${by} ${number}`,
    "aria-label": `Move ${called} ${forward ? "to the front" : "to the back"}`,
    title: `${called} ${forward ? "in front of" : "behind"} the other where they overlap`,
    disabled: place + by < 0 || place + by >= bound || linked(state.node, "front"),
    onclick: () => choose(state, "move", number, by) });
}

/** A driving person that can be dragged to a row. */
function driven(state, card) {
  return element("span", { class: "scail2-driving", draggable: linked(state.node, "binding") ? null : "true",
    title: `Drag ${title(card)} to another row`,
    ondragstart: (event) => {
      state.dragged = card.number;
      event.dataTransfer.setData("text/plain", title(card));
      event.dataTransfer.effectAllowed = "move";
      event.stopPropagation();
    },
    ondragend: () => { state.dragged = null; } }, picture(card, `${title(card)} of the driving video`));
}

function takes(state, event, target) {
  if (state.dragged === null) return;
  event.preventDefault();
  event.stopPropagation(); // the page takes files
  target.dataset.over = "";
}

function dropped(state, event, ours) {
  if (state.dragged === null) return;
  event.preventDefault();
  event.stopPropagation();
  const theirs = state.dragged;
  state.dragged = null;
  choose(state, "bind", ours, theirs);
}

function cardOf({ cards }, side, number) {
  return cards.find((card) => card.side === side && card.number === number);
}

function covers({ coverage }, whole) {
  return element("small", { text: `${(100 * coverage).toFixed(1)} %`, title: `Share of the ${whole}` });
}

function picture(card, alt) {
  return element("img", { alt, draggable: "false", width: 48, height: 64, src: api.apiURL(
    `/view?${new URLSearchParams(card.thumbnail)}`) });
}

function swatch({ colour, colour_name: name }) {
  return element("span", { class: "scail2-swatch", style: `background:${colour || "#888"}`, title: name || null });
}

/** A driving person. The colour of a number would mislead: bound people have the reference's. */
function title({ number, name, painted, colour_name: colour }) {
  const called = name || (painted && colour);
  return called ? `${number} ${called}` : `person ${number}`;
}
