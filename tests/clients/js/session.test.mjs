// Tokens: kept in memory, exchanged once, and what happens when they are refused.

import assert from "node:assert/strict";
import { test } from "node:test";

import { TaskApi, newId } from "../../../clients/js/taskapi.js";
import { Clock, expired } from "./clock.mjs";
import { BASE, PASSWORD, countOf, newcomer, titlesOf, withTwoDevices } from "./people.mjs";
import { Proxy } from "./proxy.mjs";

const refreshes = () => countOf("POST", "/auth/refresh", 200);

test("of many requests with an expired token all are answered, after one refresh", async () => {
  const clock = new Clock();
  const api = await newcomer({ fetch: clock.fetch });
  clock.expireTokens();
  const before = [await refreshes(), await countOf("POST", "/tasks", 401)];

  const numbers = Array.from({ length: 30 }, (_, number) => number);
  const created = await Promise.all(
    numbers.map((number) => api.createTask({ title: `${number}` })),
  );

  assert.equal((await titlesOf(api.tasks())).length, 30);
  assert.equal(new Set(created.map(({ id }) => id)).size, 30);
  assert.ok((await countOf("POST", "/tasks", 401)) > before[1] + 1);
  assert.equal((await refreshes()) - before[0], 1);
});

test("whoever gives up waiting for the refresh gives up for themselves alone", async () => {
  const proxy = await new Proxy(BASE).open();
  const clock = new Clock();
  const api = await newcomer({ baseUrl: proxy.url, fetch: clock.fetch });
  clock.expireTokens();
  const impatient = new AbortController();
  const events = heard(api);

  const refresh = proxy.holdAnswer(/^POST \/auth\/refresh/);

  const givenUp = api.createTask({ title: "Never" }, { signal: impatient.signal });
  const created = api.createTask({ title: "Buy milk" });
  await refresh.held;
  impatient.abort();
  await assert.rejects(givenUp, { name: "AbortError" });
  refresh.release();

  assert.equal((await created).title, "Buy milk");
  assert.deepEqual(await titlesOf(api.tasks()), ["Buy milk"]);
  assert.deepEqual(events, []);
  await proxy.close();
});

test("a refresh whose answer was lost is repeated and ends no session", async () => {
  const proxy = await new Proxy(BASE).open();
  const clock = new Clock();
  const api = await newcomer({ baseUrl: proxy.url, fetch: clock.fetch, retries: 1 });
  const events = heard(api);
  clock.expireTokens();

  proxy.loseAnswers(/^POST \/auth\/refresh/);
  await api.createTask({ title: "Buy milk" });
  const keys = proxy.requests.filter(({ line }) => line.includes("refresh")).map(({ key }) => key);
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);

  // Also where it was given up in between, and asked for again much later.
  clock.expireTokens();
  proxy.loseAnswers(/^POST \/auth\/refresh/, Infinity);
  await assert.rejects(api.createTask({ title: "Later" }), { name: "NetworkError" });
  assert.notEqual(api.user, null);
  proxy.heal();
  await api.createTask({ title: "Buy bread" });

  // And where what it gave has expired as well by then, as on a device that was asleep.
  clock.expireTokens();
  proxy.loseAnswers(/^POST \/auth\/refresh/, Infinity);
  await assert.rejects(api.listTasks(), { name: "NetworkError" });
  proxy.heal();
  clock.expireTokens({ late: 1 });
  const before = await refreshes();
  assert.deepEqual(await titlesOf(api.tasks({ sort: "title" })), ["Buy bread", "Buy milk"]);
  assert.equal((await refreshes()) - before, 2);
  assert.deepEqual(events, []);
  await proxy.close();
});

test("registering and logging in are repeated when their answers are lost", async () => {
  const proxy = await new Proxy(BASE).open();
  const account = { email: `${newId()}@example.com`, password: PASSWORD };
  const api = new TaskApi({ baseUrl: proxy.url });

  proxy.loseAnswers(/^POST \/auth\/register/);
  assert.equal((await api.register(account)).email, account.email);
  proxy.loseAnswers(/^POST \/auth\/login/);
  await api.login(account);
  assert.equal((await api.sessions()).length, 2);
  proxy.loseAnswers(/^POST \/auth\/logout/);
  await api.logout();
  assert.equal(api.user, null);
  await proxy.close();
});

test("a session that was ended elsewhere signs out once, and says why", async () => {
  const [first, second] = await withTwoDevices();
  const events = heard(second);
  const open = await first.sessions();
  await first.endSession(open.find(({ current }) => !current).id);

  const asked = await Promise.allSettled(Array.from({ length: 10 }, () => second.listTasks()));
  for (const { reason } of asked) assert.equal(reason.code, "session_ended");
  assert.deepEqual(events, ["signout session_ended"]);
  assert.equal(second.user, null);
  await assert.rejects(second.listTasks(), { code: "token_missing" });
});

test("a refresh token that is refused signs out", async () => {
  const clock = new Clock();
  const [first, second] = await withTwoDevices({ fetch: clock.fetch });
  const events = heard(second);
  clock.expireTokens();
  await first.logout({ all: true });

  await assert.rejects(second.listTasks(), { name: "ProblemError", code: "session_ended" });
  assert.deepEqual(events, ["signout session_ended"]);
  assert.equal(second.user, null);
});

test("who cannot reach the service to log out is told so, and still signed in", async () => {
  const proxy = await new Proxy(BASE).open();
  const api = await newcomer({ baseUrl: proxy.url, retries: 0 });
  const events = heard(api);
  await proxy.close();

  await assert.rejects(api.logout(), { name: "NetworkError" });
  assert.notEqual(api.user, null);
  await proxy.open();
  await api.logout();
  assert.deepEqual([api.user, ...events], [null, "signout undefined"]);
  await proxy.close();
});

test("an account is looked at, changed and deleted", async () => {
  const [api, other] = await withTwoDevices();
  const events = heard(api);

  assert.equal((await api.changeMe({ name: "Ada" })).name, "Ada");
  assert.equal(api.user.name, "Ada");
  assert.deepEqual(await api.me(), api.user);
  assert.equal((await api.sessions()).length, 2);
  const passwords = { current_password: PASSWORD, new_password: "a longer horse, stapled" };
  await api.changePassword(passwords);
  await assert.rejects(other.me(), { code: "session_ended" });
  await assert.rejects(api.deleteMe({ password: PASSWORD }), { code: "password_wrong" });
  await api.deleteMe({ password: "a longer horse, stapled" });
  assert.equal(api.user, null);
  assert.deepEqual(events, ["signout undefined"]);
});

test("an account is not taken for deleted where only the token has expired", async () => {
  const clock = new Clock();
  let isOffline = true;
  const api = await newcomer({
    fetch: async (url, init) => {
      if (init.method === "DELETE" && isOffline) {
        isOffline = false;
        throw new TypeError("Failed to fetch");
      }
      return clock.fetch(url, init);
    },
  });
  const { email } = api.user;
  clock.expireTokens();

  await api.deleteMe({ password: PASSWORD });

  assert.equal(api.user, null);
  await assert.rejects(api.login({ email, password: PASSWORD }), { code: "credentials_invalid" });
});

test("an issuer outside is asked for another token when its last one has expired", async () => {
  const account = { email: `${newId()}@example.com`, password: PASSWORD };
  const good = await rawToken("/auth/register", account);
  const tokens = [expired(good), good];
  const api = new TaskApi({ baseUrl: BASE, token: async () => tokens.shift() });

  assert.equal((await api.me()).email, account.email);
  assert.equal(api.user.email, account.email);
  assert.deepEqual(tokens, []);
  const stale = new TaskApi({ baseUrl: BASE, token: expired(good) });
  await assert.rejects(stale.me(), { code: "token_expired" });
});

test("without the address of the service there is an error that says so", () => {
  for (const options of [undefined, { baseUrl: "no address" }]) {
    assert.throws(() => new TaskApi(options), /Pass the URL of the service/);
  }
});
async function rawToken(path, account) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify(account);
  const answer = await fetch(BASE + path, { method: "POST", headers, body });
  return (await answer.json()).access_token;
}

function heard(api) {
  const events = [];
  for (const name of ["signin", "signout"]) {
    api.addEventListener(name, ({ detail }) => events.push(`${name} ${detail.problem?.code}`));
  }
  return events;
}
