// Questions to the pack's server, whose answers depend on nothing but the question.
import { api } from "../../../scripts/api.js";

const PAUSE = 80; // ms between two questions of a panel, however fast a widget is dragged
const PATIENCE = 10000; // ms
const KEPT = 64; // answers, because a step of undo makes all nodes anew, which then need not wait
const answers = new Map(); // by path and question

/** The server's answer. Throws an Error whose message is a sentence for the user. */
export async function ask(path, question) {
  const body = JSON.stringify(question), key = path + body;
  if (!answers.has(key)) {
    const answer = await fetched(path, body);
    answers.set(key, answer);
    if (answers.size > KEPT) answers.delete(answers.keys().next().value);
  }
  return answers.get(key);
}

/** The same for what changes without the question, such as files. */
export const askAnew = (path, question) => fetched(path, JSON.stringify(question));

async function fetched(path, body) {
  let response;
  try {
    response = await api.fetchApi(path, { method: "POST", body, headers: { "Content-Type": "application/json" },
      signal: AbortSignal.timeout(PATIENCE) });
  } catch {
    throw new Error("The server does not answer.");
  }
  if (!response.ok) throw new Error(`The server cannot answer (status ${response.status}): its log says why.`);
  return response.json();
}

/**
 * A function that takes questions as fast as they come and asks the newest one, one at a time: so answers arrive in
 * order. told: {answered(answer), failed(sentence), busy(boolean)}. A question that was answered last is not asked again.
 */
export function asker(path, { answered, failed, busy }) {
  let newest = null, last = null, asking = false;

  async function run() {
    asking = true;
    while (newest !== null) {
      const question = newest, pause = new Promise((done) => setTimeout(done, PAUSE));
      newest = null;
      try {
        const answer = await ask(path, question);
        last = JSON.stringify(question);
        answered(answer);
      } catch (error) {
        last = null;
        failed(error.message);
      }
      if (newest === null) busy(false);
      await pause;
    }
    asking = false;
  }

  return function send(question) {
    const known = !asking && JSON.stringify(question) === last;
    busy(!known);
    if (known) return;
    newest = question;
    if (!asking) run();
  };
}
