// Contract C's frontend and its test suite, from its document alone: tokens of an issuer outside,
// `text`, `{tasks, count}`, `{error, message, details}`. It runs against any server of that contract:
// BASE, TOKEN and OTHER_TOKEN of two users, EXPIRED_TOKEN of the first, if there is one, and ORIGIN,
// a page's origin that the server allows. With NAMES=native it speaks as the service does by default.

import assert from "node:assert/strict";

const { BASE, TOKEN, OTHER_TOKEN, EXPIRED_TOKEN, ORIGIN } = process.env;
const { NAMES = "contract", DATABASE = "there" } = process.env;

// All that differs between the two: names, statuses and limits.
const TABLE = {
  //               in the document, natively
  text: ["text", "title"],
  errorName: ["error", "code"],
  messageName: ["message", "detail"],
  unauthorized: ["UNAUTHORIZED", /^token_(missing|invalid|expired)$/],
  notFound: ["NOT_FOUND", "task_not_found"],
  validationError: ["VALIDATION_ERROR", "validation_failed"],
  malformedJSON: [[422, "VALIDATION_ERROR"], [400, "malformed_json"]],
  unavailable: ["SERVICE_UNAVAILABLE", "database_unavailable"],
  detailsName: ["details", "errors"],
  replacesInPart: [422, 200],
  trailingSlash: [200, 404],
  unknownParameter: [200, 422],
};
const column = { contract: 0, native: 1 }[NAMES];
const here = Object.fromEntries(Object.entries(TABLE).map(([name, row]) => [name, row[column]]));

async function send(method, path, { token = TOKEN, body, raw, headers } = {}) {
  const response = await fetch(BASE + path, {
    method,
    headers: {
      ...((body || raw) && { "Content-Type": "application/json" }),
      ...(token && { Authorization: `Bearer ${token}` }),
      Origin: ORIGIN,
      ...headers,
    },
    body: raw ?? (body && JSON.stringify(body)),
  });
  const answer = await response.text();
  return { status: response.status, headers: response.headers, body: answer && JSON.parse(answer) };
}

async function answered(status, method, path, options) {
  const answer = await send(method, path, options);
  assert.equal(answer.status, status, `${method} ${path}: ${JSON.stringify(answer.body)}`);
  assert.equal(answer.headers.get("access-control-allow-origin"), ORIGIN);
  assert.ok(answer.headers.get("x-request-id"), "every answer has a correlation id");
  return answer.body;
}

async function refused(status, error, method, path, options) {
  const body = await answered(status, method, path, options);
  if (error instanceof RegExp) assert.match(body[here.errorName], error);
  else assert.equal(body[here.errorName], error);
  assert.match(body[here.messageName], /^[A-Z].*\.$/s, "a sentence, which a page can show");
  assert.equal(body.detail, body[here.messageName]);
  return body;
}

async function invalid(method, path, body) {
  const answer = await refused(422, here.validationError, method, path, { body });
  assert.ok(answer[here.detailsName].length > 0);
  if (NAMES === "contract") {
    for (const one of answer.details) assert.match(one, /^[A-Z].*\.$/s, "each detail is a text");
  }
}

const NOBODYS = "01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77";
const UUIDv7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const isTime = (text) => !Number.isNaN(Date.parse(text));

// Health, which takes no token

const health = await send("GET", "/health", { token: null });
if (DATABASE === "away") {
  assert.equal(health.status, 503);
  assert.equal(health.body.status, "unhealthy");
  assert.equal(health.body.database, "disconnected");
  assert.equal(typeof health.body.version, "string");
  await refused(503, here.unavailable, "GET", "/tasks");
  await refused(503, here.unavailable, "POST", "/tasks", { body: { [here.text]: "a" } });
  console.log("contract C holds without its database");
  process.exit();
}
assert.equal(health.status, 200);
assert.equal(health.body.status, "healthy");
assert.equal(health.body.database, "connected");
assert.equal(typeof health.body.version, "string");

const docs = await fetch(`${BASE}/docs`);
assert.equal(docs.status, 200);
assert.match(docs.headers.get("content-type"), /^text\/html/);
assert.match(await docs.text(), /swagger-ui/);

// Without a good token

const [head, claims] = TOKEN.split(".");
const bad = ["", "nonsense", `${head}.${claims}.AAAA`, `${head}.${claims}.`, "null"];
for (const token of [...bad, ...(EXPIRED_TOKEN ? [EXPIRED_TOKEN] : [])]) {
  const requests = [["GET", "/tasks"], ["POST", "/tasks", { [here.text]: "Buy milk" }]];
  const task = `/tasks/${NOBODYS}`;
  requests.push(["GET", task], ["PUT", task, {}], ["PATCH", task, {}], ["DELETE", task]);
  for (const [method, path, body] of requests) {
    await refused(401, here.unauthorized, method, path, { token, body });
  }
}
await refused(401, here.unauthorized, "GET", "/tasks", {
  token: null,
  headers: { Authorization: TOKEN },
});

// From the first task to none

const list = async (token) => {
  const { tasks, count } = await answered(200, "GET", "/tasks", { token });
  assert.equal(count, tasks.length);
  return tasks;
};
const create = (body) => answered(201, "POST", "/tasks", { body });

assert.deepEqual(await list(), []);
const first = await create({ [here.text]: "  Buy milk 🥛 " });
assert.equal(first[here.text], "Buy milk 🥛");
assert.equal(first.completed, false);
assert.equal(first.completed_at, null);
assert.ok(Number.isInteger(first.order));
assert.equal(typeof first.user_id, "string");
assert.match(first.id, UUIDv7);
assert.ok(isTime(first.created_at) && isTime(first.updated_at));
const second = await create({ [here.text]: "x".repeat(500) });
assert.equal(second[here.text].length, 500);
assert.equal(second.user_id, first.user_id);
assert.deepEqual(new Set((await list()).map((task) => task.id)), new Set([first.id, second.id]));
const path = `/tasks/${first.id}`;
assert.deepEqual(await answered(200, "GET", path), first);

for (const body of [
  {},
  { [here.text]: null },
  { [here.text]: "" },
  { [here.text]: "   " },
  { [here.text]: 7 },
  { [here.text]: "x".repeat(501) },
  [],
]) {
  await invalid("POST", "/tasks", body);
}
for (const [method, url] of [["POST", "/tasks"], ["PUT", path], ["PATCH", path]]) {
  await refused(...here.malformedJSON, method, url, { raw: `{"${here.text}": ` });
}
assert.equal((await list()).length, 2, "what is refused leaves nothing");

// Replacing takes both fields, changing any of them

const put = (body) => answered(200, "PUT", path, { body });
const patch = (body) => answered(200, "PATCH", path, { body });

const done = await put({ [here.text]: "Buy oat milk", completed: true });
assert.equal(done[here.text], "Buy oat milk");
assert.equal(done.completed, true);
assert.ok(isTime(done.completed_at));
assert.ok(done.updated_at > first.updated_at);
assert.equal(done.created_at, first.created_at);
assert.equal(done.order, first.order);
const again = await put({ [here.text]: "Buy oat milk, two", completed: true });
assert.equal(again.completed_at, done.completed_at, "completed once, and at that time");
const renamed = await patch({ [here.text]: "Milk" });
assert.equal(renamed[here.text], "Milk");
assert.equal(renamed.completed, true);
assert.equal(renamed.completed_at, done.completed_at);
const reopened = await patch({ completed: false });
assert.equal(reopened.completed, false);
assert.equal(reopened.completed_at, null, "cleared by reopening");
assert.equal(reopened[here.text], "Milk");
const both = await patch({ [here.text]: "Oat", completed: true });
assert.deepEqual([both[here.text], both.completed], ["Oat", true]);
assert.ok(both.completed_at > done.completed_at);
assert.equal((await put({ [here.text]: "Oat", completed: false })).completed_at, null);

for (const body of [{ [here.text]: "Milk" }, { completed: true }, {}]) {
  if (here.replacesInPart === 422) await invalid("PUT", path, body);
  else await put(body);
}
for (const body of [
  { [here.text]: "", completed: true },
  { [here.text]: "x".repeat(501), completed: true },
  { [here.text]: null, completed: true },
  { [here.text]: "Milk", completed: "yes" },
  { [here.text]: "Milk", completed: null },
]) {
  await invalid("PUT", path, body);
  await invalid("PATCH", path, body);
}

// Of another user, of nobody, and of no possible id: all the same

assert.deepEqual(await list(OTHER_TOKEN), []);
const whole = { [here.text]: "Mine", completed: true };
const unchanged = await answered(200, "GET", path);
for (const [method, body] of [["GET"], ["PUT", whole], ["PATCH", whole], ["DELETE"]]) {
  const answers = [
    await refused(404, here.notFound, method, path, { token: OTHER_TOKEN, body }),
    await refused(404, here.notFound, method, `/tasks/${NOBODYS}`, { body }),
    await refused(404, here.notFound, method, "/tasks/nonsense", { body }),
  ];
  assert.equal(new Set(answers.map((one) => one[here.messageName])).size, 1);
}
assert.deepEqual(await answered(200, "GET", path), unchanged);

// Paths and parameters, as its server took them

const refusedOr = async (status, method, url) => {
  const answer = await answered(status, method, url);
  if (status === 200) assert.ok(answer.tasks ?? answer.id);
};
await refusedOr(here.trailingSlash, "GET", "/tasks/");
await refusedOr(here.trailingSlash, "GET", `${path}/`);
await refusedOr(here.unknownParameter, "GET", "/tasks?user_id=me&filter=all");

// Correlation ids

const named = await send("GET", "/tasks", { headers: { "X-Request-ID": "from-the-frontend-1" } });
assert.equal(named.headers.get("x-request-id"), "from-the-frontend-1");
const missing = await send("GET", `/tasks/${NOBODYS}`, { headers: { "X-Request-ID": "frontend-2" } });
assert.equal(missing.headers.get("x-request-id"), "frontend-2");
const ids = [await send("GET", "/tasks"), await send("GET", "/tasks")];
assert.equal(new Set(ids.map((one) => one.headers.get("x-request-id"))).size, 2);

// Only the frontend's pages may call

for (const [method, url] of [["POST", "/tasks"], ["PUT", path], ["PATCH", path], ["DELETE", path]]) {
  const preflight = (origin) =>
    fetch(BASE + url, {
      method: "OPTIONS",
      headers: {
        Origin: origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
      },
    });
  const allowed = await preflight(ORIGIN);
  assert.ok(allowed.ok);
  assert.equal(allowed.headers.get("access-control-allow-origin"), ORIGIN);
  assert.ok(allowed.headers.get("access-control-allow-methods").includes(method));
  assert.ok(allowed.headers.get("access-control-allow-headers").toLowerCase().includes("authorization"));
  for (const origin of ["http://evil.example", `${ORIGIN}.evil.example`, "null"]) {
    const other = await preflight(origin);
    assert.equal(other.headers.get("access-control-allow-origin"), null);
  }
}
const elsewhere = await send("GET", "/tasks", { headers: { Origin: "http://evil.example" } });
assert.equal(elsewhere.headers.get("access-control-allow-origin"), null);

// Deleted is deleted

assert.equal(await answered(204, "DELETE", path), "");
for (const [method, body] of [["GET"], ["PUT", whole], ["PATCH", whole], ["DELETE"]]) {
  await refused(404, here.notFound, method, path, { body });
}
await answered(204, "DELETE", `/tasks/${second.id}`);
assert.deepEqual(await list(), []);

// A hundred at the same time, each answered

const many = await Promise.all(
  Array.from({ length: 100 }, (_, number) => create({ [here.text]: `task ${number}` })),
);
assert.equal(new Set(many.map((task) => task.id)).size, 100);
assert.equal((await list()).length, 100);

console.log("contract C holds");
