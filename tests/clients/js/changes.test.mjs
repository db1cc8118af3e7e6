// The change feed: a copy that follows it, waiting for what comes.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { BASE, newcomer, withTwoDevices } from "./people.mjs";
import { Proxy } from "./proxy.mjs";

class Copy {
  tasks = new Map();
  next;

  apply({ changes, next, reset }) {
    if (reset) this.tasks.clear();
    for (const change of changes) {
      if (change.op === "delete") this.tasks.delete(change.id);
      else this.tasks.set(change.task.id, change.task);
    }
    this.next = next;
  }
}

async function listOf(api) {
  const tasks = [];
  for await (const task of api.tasks({ sort: "created_at" })) tasks.push(task);
  return tasks;
}

const byId = (tasks) => [...tasks].sort((one, other) => (one.id < other.id ? -1 : 1));

describe("the feed", { concurrency: true }, () => {
  test("is read through once, page by page, and later from where it was left", async () => {
    const api = await newcomer();
    for (let number = 0; number < 5; number += 1) await api.createTask({ title: `${number}` });
    const copy = new Copy();
    const pages = [];

    for await (const page of api.changes({ limit: 2 })) {
      pages.push([page.changes.length, page.has_more, page.reset]);
      copy.apply(page);
    }
    assert.deepEqual(pages, [
      [2, true, false],
      [2, true, false],
      [1, false, false],
    ]);

    const [first, second] = await listOf(api);
    await api.deleteTask(first);
    await api.updateTask(second, { title: "Renamed" });
    // Who waits for no time at all does not wait, or would ask without a pause.
    for await (const page of api.changes({ since: copy.next, wait: 0 })) {
      assert.equal(page.changes.length, 2);
      copy.apply(page);
    }
    assert.deepEqual(byId(copy.tasks.values()), byId(await listOf(api)));
  });

  test("makes a copy that ends equal while another device writes", async () => {
    const [writer, reader] = await withTwoDevices();
    const copy = new Copy();
    const stop = new AbortController();
    let writing = true;

    async function write(name) {
      for (let number = 0; number < 20; number += 1) {
        const task = await writer.createTask({ title: `${name} ${number}` });
        if (number % 3 === 0) await writer.deleteTask(task);
        if (number % 3 === 1) await writer.completeTask(task);
      }
    }
    const following = (async () => {
      for await (const page of reader.changes({ wait: 25, limit: 7 }, { signal: stop.signal })) {
        copy.apply(page);
        if (copy.tasks.size === 3 * 13 + 1 && !writing) return;
      }
    })();
    await Promise.all(["a", "b", "c"].map(write));
    writing = false;
    await writer.createTask({ title: "The last" });
    await following;

    assert.deepEqual(byId(copy.tasks.values()), byId(await listOf(writer)));
  });

  test("is in sync at once, and then waits for what comes", async () => {
    const [writer, reader] = await withTwoDevices();
    const pages = reader.changes({ wait: 25 });

    assert.deepEqual((await pages.next()).value.changes, []);
    const coming = pages.next();
    const task = await writer.createTask({ title: "Buy milk" });
    assert.deepEqual((await coming).value.changes, [{ op: "upsert", task }]);
    await pages.return();
  });

  test("that is waited for can be left at once", async () => {
    const proxy = await new Proxy(BASE).open();
    const api = await newcomer({ baseUrl: proxy.url });
    const leaving = new AbortController();
    const pages = api.changes({ wait: 25 }, { signal: leaving.signal });
    await pages.next();
    const waiting = pages.next();
    while (proxy.requests.length < 3) await new Promise(setImmediate);
    leaving.abort();

    await assert.rejects(waiting, { name: "AbortError" });
    assert.deepEqual(await pages.next(), { value: undefined, done: true });
    await proxy.close();
  });

  test("goes on when the service can be reached again", async () => {
    const proxy = await new Proxy(BASE).open();
    const [writer, reader] = await withTwoDevices({ baseUrl: proxy.url });
    const pages = reader.changes({ wait: 25 });
    await pages.next();
    const coming = pages.next();
    await proxy.close();
    const task = await writer.createTask({ title: "Written meanwhile" });
    await proxy.open();

    assert.deepEqual((await coming).value.changes, [{ op: "upsert", task }]);
    await pages.return();
    await proxy.close();
  });

  test("ends with an error where it cannot go on", async () => {
    const api = await newcomer();
    const pages = api.changes({ since: "no cursor", wait: 25 });
    await assert.rejects(pages.next(), { code: "validation_failed" });
    const once = new Proxy(BASE);
    await once.open();
    const away = await newcomer({ baseUrl: once.url, retries: 0 });
    await once.close();
    await assert.rejects(away.changes().next(), { name: "NetworkError" });
  });

  test("asks again only after a pause where there was no room to wait", async () => {
    const proxy = await new Proxy(BASE).open();
    const api = await newcomer({ baseUrl: proxy.url });
    const body = '{"changes":[],"next":"no cursor","has_more":false}';
    const head = `HTTP/1.1 200 OK\r\nRetry-After: 1\r\nContent-Length: ${body.length}\r\n\r\n`;
    proxy.replaceAnswer(/wait=25/, head + body);
    const pages = api.changes({ wait: 25 });
    await pages.next();
    await api.createTask({ title: "What the service answers with, so that it can be replaced" });
    await pages.next();

    const started = performance.now();
    await assert.rejects(pages.next(), { code: "validation_failed" });
    assert.ok(performance.now() - started >= 999);
    await proxy.close();
  });
});
