// What the server tells of running videos: its events, put together. No page is needed here.

const MOST = 8; // runs

/**
 * Runs, from the messages of `scail2.progress`. `ask()` gives all of the last runs, as the server's /scail2/progress
 * does; it is called when a message was missed. `heard(run)` is called with each run that has changed.
 */
export function follow(ask, heard) {
  const runs = new Map();
  let late = null; // what comes in while the answer is awaited

  function take(message) {
    const key = `${message.prompt_id} ${message.node}`;
    const known = runs.get(key);
    if (known && message.version <= known.version) return true;
    if (message.segments.length === message.count && message.segments.every((segment) => "start" in segment)) {
      runs.set(key, structuredClone(message));
      if (runs.size > MOST) runs.delete(runs.keys().next().value);
    } else if (known?.version === message.version - 1) {
      Object.assign(known, message, { segments: known.segments });
      for (const { index, ...values } of message.segments) Object.assign(known.segments[index], values);
    } else {
      return false;
    }
    heard(runs.get(key));
    return true;
  }

  async function renew() {
    if (late) return;
    late = [];
    try {
      for (const run of await ask()) take(run);
      for (const message of late) take(message);
    } catch {
      // the server is away; it is asked again when it is back
    } finally {
      late = null;
    }
  }

  return {
    renew,
    known: () => [...runs.values()],
    hear(message) {
      if (late) late.push(message);
      else if (!take(message)) renew();
    },
  };
}

/** How much of a run is done, 0 to 1, by frames and steps. */
export function share(run) {
  const part = ({ state, step, steps }) =>
    ["done", "kept", "writing"].includes(state) ? 1 : state === "waiting" ? 0 : step / steps;
  const sum = (weigh) => run.segments.reduce((total, segment) => total + weigh(segment) * (segment.stop - segment.start), 0);
  return sum(part) / sum(() => 1);
}

/** In words, as `budget.duration` has it. */
export function duration(seconds) {
  const whole = Math.round(seconds), minutes = Math.round(seconds / 60);
  if (whole < 60) return `${whole} s`;
  if (whole < 300) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Where a run is, in one line. */
export function summary(run) {
  const finished = run.segments.filter(({ state }) => state === "done" || state === "kept").length;
  const all = `${finished} of ${run.segments.length} segments finished`;
  if (run.state === "running" && run.left !== null) return `${all}, about ${duration(run.left)} left`;
  const words = { running: "", joining: ", joining them", done: "", cancelled: ", cancelled", failed: ", stopped by an error" };
  return all + words[run.state];
}
