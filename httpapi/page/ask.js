// Asking the store: with the token of this tab, when it has one.

const kept = "event-store-token";

export function setToken(token) {
  if (token) sessionStorage.setItem(kept, token);
  else sessionStorage.removeItem(kept);
}

export const hasToken = () => sessionStorage.getItem(kept) !== null;

/** ask is fetch with the token. A refusal lets the page show its token field; another failure says what the store says. */
export async function ask(url, options = {}) {
  const headers = new Headers(options.headers);
  const token = sessionStorage.getItem(kept);
  if (token) headers.set("Authorization", "Bearer " + token);
  const answer = await fetch(url, { ...options, headers });
  document.getElementById("trouble").hidden = true;
  if (answer.status === 401 || answer.status === 403) {
    document.dispatchEvent(new CustomEvent("refused", { detail: await detailOf(answer) }));
    throw new Error("refused");
  }
  if (answer.status >= 500) throw new Error(await detailOf(answer));
  return answer;
}

async function detailOf(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return answer.statusText;
  }
}

/** part asks for one part of the page at a URL of the page, and gives its element. */
export async function part(name, url) {
  const target = new URL(url, location.href);
  target.searchParams.set("part", name);
  const answer = await ask(target);
  return new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(name);
}
