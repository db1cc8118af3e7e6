// What the operator does while somebody is working: limits, restarts, forgetting.

import assert from "node:assert/strict";
import { test } from "node:test";

import { TaskApi } from "../../../clients/js/taskapi.js";
import { BASE, countOf, newcomer, titlesOf } from "./people.mjs";

async function operator(action) {
  const answer = await fetch(`${process.env.OPERATOR}/${action}`, { method: "POST" });
  assert.equal(answer.status, 204);
}

test("a limit that was reached is waited for", async () => {
  const api = await newcomer();
  const numbers = Array.from({ length: 30 }, (_, number) => number);
  await Promise.all(numbers.map((number) => api.createTask({ title: `${number}` })));

  assert.equal((await titlesOf(api.tasks())).length, 30);
  assert.ok((await countOf("POST", "/tasks", 429)) > 0);
});

test("whoever guesses at a password is told to wait, and not kept waiting", async () => {
  const { email } = (await newcomer()).user;
  const guesser = new TaskApi({ baseUrl: BASE });
  const guess = () => guesser.login({ email, password: "wrong" });

  for (let number = 0; number < 5; number += 1) {
    await assert.rejects(guess(), { code: "credentials_invalid" });
  }
  await assert.rejects(guess(), (error) => {
    assert.equal(error.code, "too_many_attempts");
    assert.ok(error.retryAfter >= 1);
    return true;
  });
  assert.equal(await countOf("POST", "/auth/login", 429), 1);
});

test("a service that is stopped and started again is not noticed by who works on", async () => {
  const api = await newcomer({ retries: 10 });
  const heard = [];
  const stop = new AbortController();
  const following = (async () => {
    for await (const { changes } of api.changes({ wait: 25 }, { signal: stop.signal })) {
      heard.push(...changes.map(({ task }) => task.title));
      if (heard.includes("The last")) return;
    }
  })();

  let restarted = false;
  const restarting = operator("restart").then(() => (restarted = true));
  const titles = [];
  for (let number = 0; number < 5 || !restarted; number += 1) {
    titles.push(`Task ${number}`);
    await api.createTask({ title: titles.at(-1) });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await restarting;
  await api.createTask({ title: "The last" });
  await following;

  assert.deepEqual(await titlesOf(api.tasks({ sort: "created_at" })), [...titles, "The last"]);
  assert.deepEqual(heard, [...titles, "The last"]);
});

test("a copy that is older than what is remembered begins anew", async () => {
  const api = await newcomer();
  const kept = await api.createTask({ title: "Kept" });
  const deleted = await api.createTask({ title: "Deleted" });
  let since;
  for await (const { next } of api.changes()) since = next;
  await api.deleteTask(deleted);
  await operator("forget");

  const pages = api.changes({ since, wait: 25 });
  const { value } = await pages.next();
  assert.equal(value.reset, true);
  assert.deepEqual(value.changes, [{ op: "upsert", task: kept }]);
  const coming = pages.next();
  const task = await api.createTask({ title: "New" });
  const later = (await coming).value;
  assert.deepEqual([later.reset, later.changes], [false, [{ op: "upsert", task }]]);
  await pages.return();
});
