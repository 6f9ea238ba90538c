// Verification from the page: POST /verify runs it, GET /verify tells how far it is.

import { ask, part } from "./ask.js";

const every = 250; // milliseconds between two looks at the progress

/** wireVerify makes the form verify without leaving the page. */
export function wireVerify(swap) {
  const form = document.getElementById("verify");
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    form.querySelector("button").disabled = true;
    const watching = setInterval(() => watch().catch(() => clearInterval(watching)), every);
    show(0, "Verifying …");
    try {
      const answer = await ask("/verify", { method: "POST" });
      await answer.arrayBuffer(); // to its end
      clearInterval(watching);
      swap("state", await part("state", location.href));
    } catch (problem) {
      clearInterval(watching);
      fail(form, problem.message);
    }
  });
}

async function watch() {
  const state = await (await ask("/verify")).json();
  if (!state.running || !state.progress) return;
  const { bytes_done: done, bytes_total: total, segments_done: segments, segments_total: all } = state.progress;
  show(total ? done / total : 0, `Verifying: ${segments} of ${all} segments`);
}

function show(share, text) {
  const bar = document.getElementById("progress");
  bar.hidden = false;
  bar.value = share;
  document.getElementById("progress-text").textContent = text;
}

function fail(form, text) {
  form.querySelector("button").disabled = false;
  document.getElementById("progress").hidden = true;
  document.getElementById("progress-text").textContent = "Verification failed: " + text;
}
