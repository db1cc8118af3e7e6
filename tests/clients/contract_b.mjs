// Contract B's frontend and its test suite, from its document alone: accounts, a bearer token,
// `is_completed`, `{tasks, total}`. It runs against any server of that contract: BASE, EXPIRED_TOKEN, and
// ORIGIN, a page's origin that the server allows. With NAMES=native it speaks as the service does by
// default.

import assert from "node:assert/strict";

const { BASE, EXPIRED_TOKEN, ORIGIN, NAMES = "contract", DATABASE = "there" } = process.env;

// All that differs between the two: names, statuses and limits.
const TABLE = {
  //                 in the document, natively
  completed: ["is_completed", "completed"],
  tokenType: ["bearer", "Bearer"],
  tokenHours: [24, 0.25],
  errorName: ["error", "code"],
  taken: [400, 409],
  invalid: [400, 422],
  malformedJSON: [422, 400],
  foreign: [403, 404],
  loggedOut: [200, 204],
  loggedOutWithoutSession: [200, 401],
  nullKeeps: [true, false],
  titleLimit: [255, 500],
  descriptionLimit: [10_000, 2000],
  passwordLimit: [100, 256],
  trailingSlash: [200, 404],
  unknownParameter: [200, 422],
};
const column = { contract: 0, native: 1 }[NAMES];
const here = Object.fromEntries(Object.entries(TABLE).map(([name, row]) => [name, row[column]]));

async function send(method, path, { token, body, text, headers } = {}) {
  const response = await fetch(BASE + path, {
    method,
    headers: {
      // As wrappers do, also where there is no body.
      "Content-Type": "application/json",
      Origin: ORIGIN,
      ...(token && { Authorization: `Bearer ${token}` }),
      ...headers,
    },
    body: text ?? (body && JSON.stringify(body)),
  });
  const answer = await response.text();
  return { status: response.status, headers: response.headers, body: answer && JSON.parse(answer) };
}

async function answered(status, method, path, options) {
  const answer = await send(method, path, options);
  assert.equal(answer.status, status, `${method} ${path}: ${JSON.stringify(answer.body)}`);
  // Pages that send credentials may read it, refusals included.
  assert.equal(answer.headers.get("access-control-allow-origin"), ORIGIN);
  assert.equal(answer.headers.get("access-control-allow-credentials"), "true");
  return answer.body;
}

async function refused(status, method, path, options) {
  const body = await answered(status, method, path, options);
  assert.match(body.detail, /^[A-Z].*\.$/s, "detail is a sentence, which a page can show");
  assert.equal(typeof body[here.errorName], "string");
  return body.detail;
}

const email = (name) => `${name}+${crypto.randomUUID()}@example.com`;
const claimsOf = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
const headOf = (token) => JSON.parse(Buffer.from(token.split(".")[0], "base64url"));
const INVALID = here.invalid;
const NOBODYS = "01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77";

if (DATABASE === "away") {
  await refused(503, "POST", "/auth/login", { body: { email: email("ada"), password: "a" } });
  await refused(503, "POST", "/auth/register", {
    body: { email: email("ada"), password: "correct horse" },
  });
  console.log("contract B holds without its database");
  process.exit();
}

// Registering

const ada = { email: email("ada"), password: "correct horse battery" };
const registered = await answered(201, "POST", "/auth/register", { body: ada });
assert.equal(registered.token_type, here.tokenType);
assert.equal(registered.user.email, ada.email);
assert.ok(registered.user.id);
assert.ok(!Number.isNaN(Date.parse(registered.user.created_at)));
assert.ok(!JSON.stringify(registered).includes(ada.password));
assert.equal(headOf(registered.access_token).alg, "HS256");
const { iat, exp } = claimsOf(registered.access_token);
assert.equal(exp - iat, here.tokenHours * 3600);

await refused(here.taken, "POST", "/auth/register", { body: ada });
await refused(here.taken, "POST", "/auth/register", {
  body: { ...ada, email: ada.email.toUpperCase() },
});
for (const password of ["k7#Vq2!", "kJ8#vq2! ".repeat(60).slice(0, here.passwordLimit + 1)]) {
  await refused(INVALID, "POST", "/auth/register", { body: { email: email("eve"), password } });
}
for (const password of ["kJ8#vq2!", "kJ8#vq2! ".repeat(60).slice(0, here.passwordLimit)]) {
  const body = { email: email("eve"), password };
  await answered(201, "POST", "/auth/register", { body });
  await answered(200, "POST", "/auth/login", { body });
}
for (const body of [
  {},
  { email: email("eve") },
  { password: ada.password },
  { email: "no address", password: ada.password },
  { email: email("eve"), password: 12345678 },
  { email: null, password: ada.password },
  [],
]) {
  await refused(INVALID, "POST", "/auth/register", { body });
}
await refused(here.malformedJSON, "POST", "/auth/register", { text: '{"email": "a' });

// Logging in

const login = await answered(200, "POST", "/auth/login", { body: ada });
assert.equal(login.token_type, here.tokenType);
assert.deepEqual(login.user, registered.user);
const wrong = await refused(401, "POST", "/auth/login", {
  body: { ...ada, password: "another horse battery" },
});
const unknown = await refused(401, "POST", "/auth/login", {
  body: { ...ada, email: email("nobody") },
});
assert.equal(wrong, unknown, "one message for both causes");
await refused(INVALID, "POST", "/auth/login", { body: { email: ada.email } });
await refused(here.malformedJSON, "POST", "/auth/login", { text: "email=ada" });

// Tasks: without a good token

const token = login.access_token;
const [head, claims] = token.split(".");
for (const bad of [undefined, "nonsense", `${head}.${claims}.AAAA`, "null", EXPIRED_TOKEN]) {
  await refused(401, "GET", "/tasks", { token: bad });
  await refused(401, "POST", "/tasks", { token: bad, body: { title: "Buy milk" } });
  for (const [method, body] of [["GET"], ["PUT", {}], ["DELETE"]]) {
    await refused(401, method, `/tasks/${NOBODYS}`, { token: bad, body });
  }
}
await refused(401, "GET", "/tasks", { headers: { Authorization: "Basic YTpi" } });

// Tasks: from the first to none

const page = async (path = "/tasks") => {
  const { tasks, total } = await answered(200, "GET", path, { token });
  return { tasks, total };
};
const create = (body) => answered(201, "POST", "/tasks", { token, body });

assert.deepEqual(await page(), { tasks: [], total: 0 });
const first = await create({ title: "  Buy milk ", description: "Oat 🥛 <b>& more</b>" });
assert.equal(first.title, "Buy milk");
assert.equal(first.description, "Oat 🥛 <b>& more</b>", "kept as it was sent");
assert.equal(first[here.completed], false);
assert.equal(first.user_id, login.user.id);
assert.ok(!Number.isNaN(Date.parse(first.created_at)));
assert.equal(first.updated_at, first.created_at);
const second = await create({ title: "x".repeat(here.titleLimit) });
assert.equal(second.description, null);
const third = await create({ title: "a", description: "y".repeat(here.descriptionLimit) });
assert.equal(third.description.length, here.descriptionLimit);
assert.equal((await create({ title: "b", description: null })).description, null);
const { tasks, total } = await page();
assert.equal(total, 4);
assert.deepEqual(tasks.slice(1), [third, second, first], "the newest is the first");
const path = `/tasks/${first.id}`;
assert.deepEqual(await answered(200, "GET", path, { token }), first);

for (const body of [
  {},
  { title: null },
  { title: "" },
  { title: "   " },
  { title: 7 },
  { title: "x".repeat(here.titleLimit + 1) },
  { title: "a", description: "y".repeat(here.descriptionLimit + 1) },
  { title: "a", description: 7 },
  { title: "a", [here.completed]: "yes" },
  ["title"],
]) {
  await refused(INVALID, "POST", "/tasks", { token, body });
}
await refused(here.malformedJSON, "POST", "/tasks", { token, text: '{"title": ' });
assert.equal((await page()).total, 4, "what is refused leaves nothing");

// Tasks: changing, where every field is optional

const put = (body) => answered(200, "PUT", path, { token, body });
const done = await put({ [here.completed]: true });
assert.equal(done[here.completed], true);
assert.equal(done.title, first.title);
assert.equal(done.description, first.description);
assert.ok(done.updated_at > first.updated_at);
assert.equal(done.created_at, first.created_at);
const renamed = await put({ title: "Buy oat milk" });
assert.equal(renamed.title, "Buy oat milk");
assert.equal(renamed.description, first.description);
assert.equal(renamed[here.completed], true);
assert.equal((await put({ description: "Two of them" })).description, "Two of them");
assert.equal((await put({ [here.completed]: false }))[here.completed], false);
const whole = { title: "Milk", description: "One", [here.completed]: true };
for (const [name, value] of Object.entries(whole)) {
  assert.equal((await put(whole))[name], value);
}
const before = await put({});
for (const [name, value] of Object.entries(whole)) assert.equal(before[name], value);
if (here.nullKeeps) {
  const after = await put({ title: null, description: null, [here.completed]: null });
  for (const [name, value] of Object.entries(whole)) assert.equal(after[name], value);
} else {
  assert.equal((await put({ description: null })).description, null);
  await refused(INVALID, "PUT", path, { token, body: { title: null } });
  await refused(INVALID, "PUT", path, { token, body: { [here.completed]: null } });
}
for (const body of [
  { title: "" },
  { title: "  " },
  { title: "x".repeat(here.titleLimit + 1) },
  { description: "y".repeat(here.descriptionLimit + 1) },
  { [here.completed]: 1 },
]) {
  await refused(INVALID, "PUT", path, { token, body });
}
await refused(here.malformedJSON, "PUT", path, { token, text: "{'title': 'a'}" });
assert.equal((await answered(200, "GET", path, { token })).title, "Milk");

// Tasks: of another user, of nobody, and of no possible id

const bob = { email: email("bob"), password: "correct horse battery" };
const { access_token: bobs } = await answered(201, "POST", "/auth/register", { body: bob });
const { tasks: ofBob } = await answered(200, "GET", "/tasks", { token: bobs });
assert.deepEqual(ofBob, []);
for (const [method, body] of [["GET"], ["PUT", { title: "Mine" }], ["DELETE"]]) {
  await refused(here.foreign, method, path, { token: bobs, body });
  await refused(404, method, `/tasks/${NOBODYS}`, { token, body });
  await refused(404, method, "/tasks/nonsense", { token, body });
  await refused(404, method, "/tasks/12345", { token, body });
}
assert.equal((await answered(200, "GET", path, { token })).title, "Milk");

// Paths and parameters, as its server took them

await refusedOr(here.trailingSlash, "GET", "/tasks/", { token });
await refusedOr(here.trailingSlash, "GET", `${path}/`, { token });
await refusedOr(here.unknownParameter, "GET", "/tasks?page=1&per_page=20", { token });
await refusedOr(here.unknownParameter, "GET", "/tasks?_=1&_=2", { token });

async function refusedOr(status, ...request) {
  return status < 300 ? answered(status, ...request) : refused(status, ...request);
}

// Deleting

assert.equal(await answered(204, "DELETE", path, { token }), "");
await refused(404, "DELETE", path, { token });
await refused(404, "GET", path, { token });
assert.equal((await page()).total, 3);
await refused(404, "GET", path, { token: bobs }); // It is nobody's any more.

// Logging out: this session, not the others; with a token or without

const others = registered.access_token;
const out = await answered(here.loggedOut, "POST", "/auth/logout", { token });
if (here.loggedOut === 200) assert.equal(typeof out.message, "string");
await refused(401, "GET", "/tasks", { token });
await refused(401, "PUT", path, { token, body: { title: "a" } });
await answered(200, "GET", "/tasks", { token: others });
for (const bad of [undefined, token, EXPIRED_TOKEN, "nonsense"]) {
  const status = here.loggedOutWithoutSession;
  const again = await refusedOr(status, "POST", "/auth/logout", { token: bad });
  if (here.loggedOut === 200) assert.deepEqual(again, out);
}
await answered(200, "GET", "/tasks", { token: others });

// The browser's side: preflights, and no permission for other origins

for (const [method, url] of [["POST", "/auth/login"], ["PUT", path], ["DELETE", path]]) {
  const preflight = await fetch(BASE + url, {
    method: "OPTIONS",
    headers: {
      Origin: ORIGIN,
      "Access-Control-Request-Method": method,
      "Access-Control-Request-Headers": "authorization,content-type",
    },
  });
  assert.ok(preflight.ok);
  assert.equal(preflight.headers.get("access-control-allow-origin"), ORIGIN);
  assert.equal(preflight.headers.get("access-control-allow-credentials"), "true");
  assert.ok(preflight.headers.get("access-control-allow-methods").includes(method));
  const allowed = preflight.headers.get("access-control-allow-headers").toLowerCase();
  assert.ok(allowed.includes("authorization") && allowed.includes("content-type"));
}
const evil = { token: others, headers: { Origin: "http://evil.example" } };
const elsewhere = await send("GET", "/tasks", evil);
assert.equal(elsewhere.headers.get("access-control-allow-origin"), null);

const docs = await fetch(`${BASE}/docs`);
assert.equal(docs.status, 200);
assert.match(docs.headers.get("content-type"), /^text\/html/);

console.log("contract B holds");
