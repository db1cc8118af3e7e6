// Contract A's frontend, as it was written: fetch, a user id in the path, `detail` on errors.
// It runs against any server of that contract: BASE, USER_ID, and where a token is asked for TOKEN
// and EXPIRED_TOKEN, one of the same user's.

import assert from "node:assert/strict";

const { BASE, USER_ID, TOKEN, EXPIRED_TOKEN, DATABASE = "there" } = process.env;
const apiOf = (userId) => `${BASE}/api/${encodeURIComponent(userId)}/tasks`;
const api = apiOf(USER_ID);

async function request(path, { token = TOKEN, url = api, ...options } = {}) {
  const response = await fetch(url + path, {
    ...options,
    // As wrappers do, also where there is no body.
    headers: {
      "Content-Type": "application/json",
      ...(token && { Authorization: `Bearer ${token}` }),
    },
  });
  if (!response.ok) {
    const error = new Error((await response.json()).detail);
    throw Object.assign(error, { status: response.status });
  }
  assert.equal(response.status, { POST: 201, DELETE: 204 }[options.method] ?? 200);
  return response.status === 204 ? null : response.json();
}

const send = (method, path, body) => request(path, { method, body: JSON.stringify(body) });

async function refusal(promise, status) {
  const error = await promise.then(() => assert.fail("it was not refused"), (error) => error);
  assert.equal(error.status, status, error.message);
  assert.match(error.message, /^[A-Z].*\.$/, "detail is a sentence");
}

if (DATABASE === "away") {
  await refusal(request(""), 503);
  await refusal(send("POST", "", { title: "Buy milk" }), 503);
  console.log("contract A holds without its database");
  process.exit();
}

assert.deepEqual(await request(""), [], "an empty list is a bare array");

const first = await send("POST", "", { title: "  Buy milk ", description: "Oat 🥛" });
assert.equal(first.title, "Buy milk");
assert.equal(first.description, "Oat 🥛");
assert.equal(first.completed, false);
assert.equal(first.user_id, USER_ID);
assert.match(first.id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
for (const time of [first.created_at, first.updated_at]) {
  assert.match(time, /^\d{4}-\d\d-\d\dT.*(Z|\+00:00)$/, "a time in UTC");
  assert.ok(!Number.isNaN(Date.parse(time)));
}
const second = await send("POST", "", { title: "x".repeat(500) });
assert.equal(second.description, null);
assert.deepEqual(await request(""), [second, first], "the newest is the first");
assert.deepEqual(await request(`/${first.id}`), first);

const done = await request(`/${first.id}/complete`, { method: "PATCH" });
assert.equal(done.completed, true);
const replaced = await send("PUT", `/${first.id}`, { title: "Buy oat milk" });
assert.equal(replaced.title, "Buy oat milk");
assert.equal(replaced.description, null);
assert.equal(replaced.completed, true, "PUT leaves the completion alone");
assert.ok(replaced.updated_at > first.updated_at);
const reopened = await request(`/${first.id}/complete`, { method: "PATCH" });
assert.equal(reopened.completed, false, "the second time flips back");

await refusal(send("POST", "", { title: "   " }), 422);
await refusal(send("POST", "", { title: "x".repeat(501) }), 422);
await refusal(send("POST", "", { title: "a", description: "x".repeat(2001) }), 422);
await refusal(send("POST", "", {}), 422);
await refusal(send("PUT", `/${first.id}`, { description: "a" }), 422);
await refusal(request("", { method: "POST", body: '{"title": "Buy' }), 422);
await refusal(request(`/${first.id}`, { method: "PUT", body: "title=Buy+milk" }), 422);
await refusal(request("/01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77"), 404);
await refusal(request("/nonsense"), 404);
await refusal(request("/01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77/complete", { method: "PATCH" }), 404);

if (TOKEN) {
  for (const token of ["", "nonsense", EXPIRED_TOKEN]) {
    await refusal(request("", { token }), 401);
    await refusal(request("", { token, method: "POST", body: '{"title": "a"}' }), 401);
  }
  await refusal(request("", { url: apiOf("somebody else") }), 403);
}
await refusal(request(`/${first.id}`, { url: apiOf("somebody else") }), TOKEN ? 403 : 404);

assert.equal(await request(`/${first.id}`, { method: "DELETE" }), null);
await refusal(request(`/${first.id}`), 404);
await refusal(request(`/${first.id}`, { method: "DELETE" }), 404);

// A hundred at the same time, each answered.
const many = await Promise.all(
  Array.from({ length: 100 }, (_, number) => send("POST", "", { title: `task ${number}` })),
);
assert.equal(new Set(many.map((task) => task.id)).size, 100);
const listed = await request("");
assert.equal(listed.length, 101);
await Promise.all(listed.map((task) => request(`/${task.id}`, { method: "DELETE" })));
assert.deepEqual(await request(""), []);

console.log("contract A holds");
