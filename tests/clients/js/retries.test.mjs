// What is sent again, what is not, and that nothing is doubled: the service is real, and a
// proxy before it loses its answers.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { newId } from "../../../clients/js/taskapi.js";
import { BASE, PASSWORD, newcomer, titlesOf } from "./people.mjs";
import { Proxy } from "./proxy.mjs";

/** A test by somebody who reaches the service through a proxy of their own. */
function tested(name, play) {
  test(name, async () => {
    const proxy = await new Proxy(BASE).open();
    const api = await newcomer({ baseUrl: proxy.url, timeout: 20_000 });
    proxy.requests.length = 0;
    await play(api, proxy).finally(() => proxy.close());
  });
}

// Most of their time they wait, which they can do together.
describe("a request", { concurrency: true }, () => {
  tested("a task whose creation was answered to nobody is there once", async (api, proxy) => {
    proxy.loseAnswers(/^POST \/tasks$/, 2);

    const created = await api.createTask({ title: "Buy milk" });

    const keys = proxy.requests.map(({ key }) => key);
    assert.equal(keys.length, 3);
    assert.match(keys[0], /^[0-9a-f-]{36}$/);
    assert.deepEqual(new Set(keys), new Set([keys[0]]));
    const { tasks } = await api.listTasks();
    assert.deepEqual(tasks, [created]);
  });

  tested("a key that the caller has kept is used", async (api, proxy) => {
    const idempotencyKey = newId();
    const first = await api.createTask({ title: "Buy milk" }, { idempotencyKey });

    assert.deepEqual(await api.createTask({ title: "Buy milk" }, { idempotencyKey }), first);
    await assert.rejects(api.createTask({ title: "Other" }, { idempotencyKey }), {
      code: "idempotency_key_reused",
    });
  });

  tested("a task under an id of its own is found again", async (api, proxy) => {
    proxy.loseAnswers(/^PUT /);
    const id = newId();

    assert.equal((await api.createTask({ title: "Buy milk" }, { id })).id, id);
    assert.equal(proxy.requests.length, 2);
  });

  tested("a flip is flipped once", async (api, proxy) => {
    const task = await api.createTask({ title: "Buy milk" });
    proxy.loseAnswers(/^PATCH .*\/complete$/);

    assert.equal((await api.completeTask(task)).completed, true);
    assert.equal((await api.getTask(task)).completed, true);
  });

  tested("a change on a condition is not refused for having been made", async (api, proxy) => {
    const task = await api.createTask({ title: "Buy milk" });
    proxy.loseAnswers(/^PATCH /);
    const changed = await api.updateTask(task, { title: " Buy oat milk " }, { ifMatch: true });
    assert.equal(changed.title, "Buy oat milk");

    proxy.loseAnswers(/^PUT /);
    const replaced = await api.replaceTask(changed, { ...changed, title: "x" }, { ifMatch: true });
    assert.deepEqual(await api.getTask(task), replaced);

    // Somebody else's change is another matter.
    proxy.loseAnswers(/^PATCH /);
    await assert.rejects(api.updateTask(task, { title: "y" }, { ifMatch: true }), {
      status: 412,
      current: replaced,
    });
  });

  tested("what was deleted is not missed", async (api, proxy) => {
    const task = await api.createTask({ title: "Buy milk" });
    proxy.loseAnswers(/^DELETE \/tasks/);
    await api.deleteTask(task, { ifMatch: true });
    proxy.loseAnswers(/^DELETE \/trash/);
    await api.purgeTask(task);

    await assert.rejects(api.deleteTask(task), { code: "task_not_found" });
    proxy.loseAnswers(/^DELETE \/auth/);
    await api.deleteMe({ password: PASSWORD });
    assert.equal(api.user, null);
  });

  tested("half an answer is none", async (api, proxy) => {
    await api.createTask({ title: "Buy milk" });
    proxy.cutAnswer(/^GET \/tasks/, 500);
    assert.deepEqual(await titlesOf(api.tasks()), ["Buy milk"]);

    proxy.cutAnswer(/^GET \/tasks\/export/, 500);
    assert.equal(JSON.parse(await (await api.exportTasks()).text()).length, 1);
    assert.equal(proxy.requests.length, 5);
  });

  tested("when all tries have failed there is an error, and no further try", async (api, proxy) => {
    proxy.loseAnswers(/^GET /, Infinity);
    const trying = api.listTasks({}, { retries: 1 });
    await assert.rejects(trying, { name: "NetworkError", message: /cannot be reached/ });
    assert.equal(proxy.requests.length, 2);
  });

  tested("a service that says nothing is given up, and asked again", async (api, proxy) => {
    proxy.holdAnswer(/^GET /);
    assert.deepEqual(await titlesOf(api.tasks({}, { timeout: 1000 })), []);
    assert.ok(proxy.requests.length >= 2);

    proxy.holdAnswer(/^GET /);
    await assert.rejects(api.listTasks({}, { timeout: 100, retries: 0 }), (error) => {
      assert.equal(error.name, "NetworkError");
      assert.equal(error.cause.name, "TimeoutError");
      return true;
    });
  });

  tested("what a proxy says in the service's place is a problem as well", async (api, proxy) => {
    const page = "<html>Come back later</html>";
    const length = `Content-Length: ${page.length}\r\n\r\n`;
    proxy.replaceAnswer(/^GET /, `HTTP/1.1 502 Bad Gateway\r\n${length}${page}`);
    assert.deepEqual(await titlesOf(api.tasks()), []);

    proxy.replaceAnswer(/^GET /, `HTTP/1.1 418 I'm a teapot\r\n${length}${page}`);
    await assert.rejects(api.listTasks(), { name: "ProblemError", status: 418, code: "http_418" });

    // A portal that wants somebody to log in answers 200 to everything.
    proxy.replaceAnswer(/^GET /, `HTTP/1.1 200 OK\r\n${length}${page}`);
    await assert.rejects(api.listTasks({}, { retries: 0 }), { name: "NetworkError" });
  });

  tested("a wait is as long as the answer says, or the error says how long", async (api, proxy) => {
    const away = (seconds) =>
      `HTTP/1.1 503 Away\r\nRetry-After: ${seconds}\r\nContent-Length: 0\r\n\r\n`;
    proxy.replaceAnswer(/^GET /, away(1));
    const started = performance.now();
    await api.listTasks();
    assert.ok(performance.now() - started >= 1000);

    proxy.replaceAnswer(/^GET /, away(3600));
    await assert.rejects(api.listTasks(), { status: 503, retryAfter: 3600 });
  });

  tested("whoever gives up does so at once, while waiting and while asking", async (api, proxy) => {
    const reason = new Error("The page was left.");
    const waiting = new AbortController();
    const away = "HTTP/1.1 503 Away\r\nRetry-After: 50\r\nContent-Length: 0\r\n\r\n";
    proxy.replaceAnswer(/^GET /, away);
    const tried = api.listTasks({}, { signal: waiting.signal });
    setTimeout(() => waiting.abort(reason), 200);
    await assert.rejects(tried, reason);

    const asking = new AbortController();
    const answer = proxy.holdAnswer(/^GET /);
    const asked = api.listTasks({}, { signal: asking.signal });
    await answer.held;
    asking.abort(reason);
    await assert.rejects(asked, reason);
    await assert.rejects(api.listTasks({}, { signal: asking.signal }), reason);
    assert.equal(proxy.requests.length, 2);
  });

  tested("a name that cannot be sent is a mistake, and not an outage", async (api, proxy) => {
    await assert.rejects(api.createTask({ title: "x" }, { idempotencyKey: "ключ" }), {
      name: "TypeError",
    });
    assert.equal(proxy.requests.length, 0);
  });
});
