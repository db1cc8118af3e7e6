// What the requests are made of, and when a refusal says that one has been done already.

import { WRITABLE } from "./fields.js";

const NOTHING = { data: undefined };
const MEDIA = { csv: "text/csv", json: "application/json", jsonl: "application/x-ndjson" };

export function idOf(task) {
  return encodeURIComponent(typeof task === "string" ? task : task.id);
}

export function json(data, headers = {}) {
  return {
    headers: { ...headers, "Content-Type": "application/json" },
    body: JSON.stringify(data),
  };
}

export function condition(task, { ifMatch }) {
  if (!ifMatch) return {};
  if (typeof ifMatch === "string") return { "If-Match": ifMatch };
  if (task.version === undefined) {
    throw new TypeError("With `ifMatch: true` pass the task as you read it, not its id.");
  }
  return { "If-Match": `"${task.version}"` };
}

// What a refusal is an answer to, where the request has been done before.

export function isGone(problem, mayBeDone) {
  return mayBeDone && problem.status === 404 && NOTHING;
}

/** With the account its session is gone. */
export function isOver(problem, mayBeDone) {
  return mayBeDone && problem.code === "session_ended" && NOTHING;
}

export function isWritten({ status, current }, data, isOurs = false) {
  return status === 412 && current && (isOurs || says(current, data)) && { data: current };
}

/** Whether a task is as it was to be; the service trims titles, and an empty text is none. */
function says(task, data) {
  const kept = (value) => (typeof value === "string" ? value.trim() || null : value);
  return WRITABLE.every((name) => !(name in data) || kept(task[name]) === kept(data[name]));
}

export function mediaOf(file, type) {
  // The name goes first: what a system says of a file's type depends on what is installed.
  const ending = /\.(csv|json|jsonl|ndjson)$/i.exec(file.name ?? "")?.[1].toLowerCase();
  const kind = type ?? (ending === "ndjson" ? "jsonl" : ending) ?? file.type;
  const media = MEDIA[kind] ?? kind;
  if (!media) throw new TypeError('Say what it is: { type: "json" }, "jsonl" or "csv".');
  return media;
}
