// The hash of a stored event, recomputed: SHA-256 of its members without hash, ordered by name. All values of a stored
// line are canonical (RFC 8785) already; they are copied as they stand, never parsed, so that numbers keep their digits.

/** recompute gives the lower-case hex hash that a stored line should have. It throws where the line is no JSON object. */
export async function recompute(line) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(preimage(line)));
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** preimage is the canonical form of the event without its hash. */
export function preimage(line) {
  const kept = members(line).filter(([name]) => name !== '"hash"');
  kept.sort(([a], [b]) => (a < b ? -1 : 1));
  return "{" + kept.map(([name, value]) => name + ":" + value).join(",") + "}";
}

/** members takes an object's text apart: pairs of the name (in quotes) and the text of its value. */
function members(line) {
  const found = [];
  if (line[0] !== "{") throw new Error("not an event");
  for (let at = 1; line[at] !== "}"; ) {
    const name = valueAt(line, at);
    at += name.length + 1; // and the colon
    const value = valueAt(line, at);
    at += value.length;
    found.push([name, value]);
    if (line[at] === ",") at++;
  }
  return found;
}

/** valueAt is the text of the JSON value that begins there. */
function valueAt(line, start) {
  let depth = 0;
  for (let i = start; i < line.length; i++) {
    const c = line[i];
    if (c === '"') i = endOfString(line, i);
    else if (c === "{" || c === "[") depth++;
    else if (depth > 0 && (c === "}" || c === "]")) depth--;
    else if (depth === 0 && (c === "," || c === "}" || c === ":")) return filled(line.slice(start, i));
    else continue;
    if (depth === 0) return line.slice(start, i + 1);
  }
  throw new Error("not an event");
}

function filled(text) {
  if (text === "") throw new Error("not an event");
  return text;
}

function endOfString(line, start) {
  for (let i = start + 1; i < line.length; i++) {
    if (line[i] === "\\") i++;
    else if (line[i] === '"') return i;
  }
  throw new Error("not an event");
}
