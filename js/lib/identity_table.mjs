// The table of SCAIL2Identities: who of the reference is driven by whom, who is in front, and what they are called.
// It keeps nothing of its own: what it shows is read from the widgets, and what is chosen is written into them.
import { api } from "../../../scripts/api.js";
import * as texts from "./binding_text.mjs";
import { element, hearWidgets, onExecuted, panel, setWidgets, widgetOf } from "./dom.mjs";
import { linked } from "./graph.mjs";

const TEXTS = ["binding", "front", "names"];
const CHANGED = "Changed since this run: run again to see it.";
const LABEL = "Who is driven by whom";

export function attach(node) {
  const state = { node, cards: [], made: {}, dragged: null, forgotten: new Map(), drawn: null };
  onExecuted(node, (output) => {
    if (!output?.scail2_identities) return;
    state.cards = output.scail2_identities;
    state.made = output.scail2_texts?.[0] ?? {};
    draw(state);
  });
  hearWidgets(node, [...TEXTS, "order"], () => state.drawn && draw(state));
}

/** Whether a widget says something else than in the run that is shown. */
function changed({ node, made }) {
  return Object.entries(made).some(([name, text]) => !linked(node, name) && widgetOf(node, name).value !== text);
}

/** What the widgets say now; `problem` where they cannot be shown, and `pairs` then is what can. */
function read({ node, cards }) {
  const [binding, front, names] = TEXTS.map((name) => String(widgetOf(node, name).value ?? ""));
  const found = texts.readBinding(binding, cards);
  const pairs = found ?? new Map();
  const order = texts.readFront(front, pairs, cards);
  let problem = null;
  if (!found) {
    problem = binding.trim() ? `The binding "${binding}" does not fit these people: choose anew.`
      : "The people do not pair by themselves: choose who drives whom.";
  } else if (!order) problem = `front "${front}" does not fit the people who are bound: move somebody.`;
  return { pairs, order: order ?? texts.readFront("", pairs, cards), names: texts.readNames(names, cards), problem };
}

/** Write all three, since who is left out has neither a name nor a place. */
function write(state, { pairs, order, names }) {
  const { node, cards, forgotten } = state;
  for (const [number, name] of names) if (name) forgotten.set(number, name);
  const named = new Map([...names].map(([number, name]) => [number, name || (forgotten.get(number) ?? "")]));
  const listed = [...order.filter((number) => pairs.has(number)),
    ...[...pairs.keys()].filter((number) => !order.includes(number)).sort((left, right) => left - right)];
  setWidgets(node, { binding: texts.writeBinding(pairs, cards), front: texts.writeFront(listed, pairs, cards),
    names: texts.writeNames(named, pairs, cards) });
}

function draw(state) {
  const { node } = state;
  const now = read(state);
  if (!state.drawn) {
    const { inside, resize } = panel(node, "scail2_identity_table", LABEL, "scail2-identities");
    state.drawn = { body: element("div"), note: element("output"), resize }; // what stays is read out when it changes
    inside.append(state.drawn.body, state.drawn.note);
  }
  const { body, note, resize } = state.drawn;
  const focused = body.contains(document.activeElement) && document.activeElement.dataset.key;
  body.replaceChildren(...contents(state, now));
  note.textContent = changed(state) ? CHANGED : "";
  // by number, because rows move
  if (focused) body.querySelector(`[data-key="${focused}"]`)?.focus();
  resize();
}

function contents(state, now) {
  const references = texts.sideOf(state.cards, "reference");
  const drivings = texts.sideOf(state.cards, "driving");
  const hidden = references.filter(({ number }) => !now.pairs.has(number));
  const rows = [...now.order.map((number) => references.find((card) => card.number === number)), ...hidden];
  const heads = [["Reference"], ["Name, driven by"], ["Video"], ["Front", "Whoever is in front comes first"]]
    .map(([text, title]) => element("th", { scope: "col", text, title }));
  const free = drivings.filter(({ number }) => ![...now.pairs.values()].includes(number));
  const given = TEXTS.filter((name) => linked(state.node, name));
  return [
    now.problem && element("p", { class: "scail2-warning", role: "status", text: now.problem }),
    given.length > 0 && element("p", { role: "status", text: `Connected, so not to be changed here: ${given.join(", ")}.` }),
    element("table", { "aria-label": LABEL },
      element("thead", {}, element("tr", {}, heads)),
      element("tbody", {}, rows.map((card, place) => row(state, now, card, place, drivings)))),
    free.length > 0 && element("div", { class: "scail2-free" }, element("span", { text: "Drives nobody:" }),
      free.map((card) => driven(state, now, card))),
  ].filter(Boolean);
}

function row(state, now, card, place, drivings) {
  const { pairs } = now;
  const { number } = card;
  const theirs = pairs.get(number) ?? null;
  const driving = drivings.find((other) => other.number === theirs);
  const colour = texts.colourCard(number, pairs, state.cards);
  const called = now.names.get(number) || driving?.name || colour.colour_name || `person ${number}`;
  const bound = driving !== undefined;
  const made = element("tr", { class: bound ? null : "scail2-hidden", "data-person": number,
    ondragover: (event) => takes(state, event, made), ondragleave: () => delete made.dataset.over,
    ondrop: (event) => dropped(state, now, event, number) },
    element("th", { scope: "row" }, element("span", { class: "scail2-person" }, swatch(colour),
      element("span", { text: number }), element("span", {},
        picture(card, `Person ${number} of the reference`), covers(card, "reference picture")))),
    element("td", {}, nameField(state, now, card, called, bound), choice(state, now, card, drivings, called),
      element("small", { text: driving ? `in ${driving.seen} frame${driving.seen === 1 ? "" : "s"}` : "left out" })),
    element("td", {}, driving ? [driven(state, now, driving), covers(driving, "driving video, where seen")] : "—"),
    element("td", {}, element("span", { class: "scail2-moves" }, bound && [
      move(state, now, place, -1, called), move(state, now, place, 1, called)])));
  return made;
}

function nameField(state, now, card, called, bound) {
  return element("input", { type: "text", value: now.names.get(card.number), placeholder: called, disabled: !bound
    || linked(state.node, "names"), "aria-label": `Name of person ${card.number}`, "data-key": `name ${card.number}`,
    // when the focus has moved on, which a new row would lose
    onchange: ({ target }) => setTimeout(() => {
      const then = read(state);
      state.forgotten.delete(card.number);
      write(state, { ...then, names: then.names.set(card.number, target.value.trim()) });
    }) });
}

function choice(state, now, card, drivings, called) {
  const chosen = now.pairs.get(card.number) ?? null;
  // a binding of nobody cannot be written: an empty one means everybody
  const last = now.pairs.size === 1 && chosen !== null;
  const select = element("select", { "aria-label": `${called} is driven by`, "data-key": `driven ${card.number}`,
    disabled: linked(state.node, "binding"),
    onchange: ({ target }) => bind(state, now, card.number, target.value ? Number(target.value) : null) },
    drivings.map((other) => element("option", { value: other.number, selected: other.number === chosen,
      text: title(other) })),
    element("option", { value: "", selected: chosen === null, disabled: last, text: "nobody (leave out)" }));
  return select;
}

function bind(state, now, ours, theirs) {
  write(state, { ...now, pairs: texts.rebind(now.pairs, ours, theirs) });
}

function move(state, now, place, by, called) {
  const to = place + by;
  const forward = by < 0;
  return element("button", { type: "button", text: forward ? "▲" : "▼", "data-key": `${by} ${now.order[place]}`,
    "aria-label": `Move ${called} ${forward ? "to the front" : "to the back"}`,
    title: `${called} ${forward ? "in front of" : "behind"} the other where they overlap`,
    disabled: to < 0 || to >= now.order.length || linked(state.node, "front"),
    onclick: () => {
      const order = [...now.order];
      [order[place], order[to]] = [order[to], order[place]];
      write(state, { ...now, order });
    } });
}

/** A driving person that can be dragged to a row. */
function driven(state, now, card) {
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

function dropped(state, now, event, ours) {
  if (state.dragged === null) return;
  event.preventDefault();
  event.stopPropagation();
  const theirs = state.dragged;
  state.dragged = null;
  bind(state, now, ours, theirs);
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

/** A driving person. The colour of a number would mislead: whoever is bound has the reference's. */
function title({ number, name, painted, colour_name: colour }) {
  const called = name || (painted && colour);
  return called ? `${number} ${called}` : `person ${number}`;
}
