// Live tail: follows GET /events/stream. What comes is only the sign that there is something new; the rows are rendered
// by the store, as the others are.

import { ask } from "./ask.js";

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** follow calls seen(id) for each new event behind the id last, until signal ends it; state is told "on" and "waiting". */
export async function follow(url, last, signal, seen, state) {
  while (!signal.aborted) {
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      const answer = await ask(url, { signal, headers });
      if (!answer.ok) throw new Error(answer.status);
      state("on");
      for await (const id of ids(answer.body)) {
        last = id;
        seen(id);
      }
    } catch (problem) {
      if (signal.aborted || problem.message === "refused") return;
    }
    state("waiting");
    await pause(1000);
  }
}

/** ids reads a body of server-sent events and gives their ids. */
async function* ids(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("id: ")) yield line.slice(4).trim();
  }
}
