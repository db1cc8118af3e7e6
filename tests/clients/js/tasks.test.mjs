// What a page does with tasks.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ProblemError, TaskApi, newId } from "../../../clients/js/taskapi.js";
import { BASE, newcomer, titlesOf } from "./people.mjs";

test("a task is created, changed, completed, moved, deleted and restored", async () => {
  const api = await newcomer();
  const milk = await api.createTask({ title: "Buy milk", description: "Oat" });
  const bread = await api.createTask({ title: "Buy bread", order: 10 });

  assert.deepEqual(await api.getTask(milk.id), milk);
  assert.equal((await api.updateTask(milk, { title: "Buy oat milk" })).description, "Oat");
  assert.equal((await api.replaceTask(milk, { title: "Buy two" })).description, null);
  assert.equal((await api.completeTask(milk, true)).completed, true);
  assert.equal((await api.completeTask(milk)).completed, false);
  const { task } = await api.moveTask(bread, { before: milk.id });
  assert.ok(task.order < milk.order);
  assert.deepEqual(await titlesOf(api.tasks({ sort: "order" })), ["Buy bread", "Buy two"]);

  await api.deleteTask(milk);
  assert.deepEqual(await titlesOf(api.tasks()), ["Buy bread"]);
  assert.deepEqual(await titlesOf(api.trash()), ["Buy two"]);
  assert.equal((await api.restoreTask(milk)).title, "Buy two");
  await api.deleteTask(milk, { permanent: true });
  await api.deleteTask(bread);
  await api.purgeTask(bread);
  await api.deleteTask(await api.createTask({ title: "Buy more" }));
  await api.emptyTrash();
  assert.deepEqual(await titlesOf(api.trash()), []);
});

test("hundreds of tasks are walked through page by page, each of them once", async () => {
  const requests = [];
  const counting = (url, init) => {
    requests.push(url);
    return fetch(url, init);
  };
  const api = await newcomer({ fetch: counting });
  const titles = Array.from({ length: 430 }, (_, number) => `Task ${number}`);
  const lines = titles.map((title) => JSON.stringify({ title })).join("\n");
  const report = await api.importTasks(lines, { type: "jsonl" });
  assert.equal(report.created, 430);
  requests.length = 0;

  const walked = await titlesOf(api.tasks({ sort: "created_at", limit: 100 }));
  assert.deepEqual(walked.sort(), titles.sort());
  assert.equal(requests.length, 5);

  requests.length = 0;
  for await (const task of api.tasks({ limit: 100 })) {
    if (task.title.startsWith("Task 4")) break;
  }
  assert.equal(requests.length, 1);
});

test("a list is filtered, searched and counted", async () => {
  const api = await newcomer();
  const [{ task }] = await api.batch([
    { op: "create", data: { title: "Buy milk" } },
    { op: "create", data: { title: "Buy bread", completed: true } },
    { op: "create", data: { title: "Sell milk" } },
  ]);

  assert.deepEqual(await titlesOf(api.tasks({ completed: true })), ["Buy bread"]);
  assert.deepEqual(await titlesOf(api.tasks({ q: "mil buy", completed: undefined })), ["Buy milk"]);
  const soon = new Date(Date.now() + 3_600_000);
  assert.deepEqual(await titlesOf(api.tasks({ created_after: soon })), []);
  const page = await api.listTasks({ limit: 1, include: "total", sort: "title" });
  assert.deepEqual([page.tasks[0].title, page.total], ["Buy bread", 3]);
  assert.notEqual(page.next_cursor, null);
  assert.equal(task.title, "Buy milk");
});

test("who writes what another has changed meanwhile is shown it", async () => {
  const api = await newcomer();
  const read = await api.createTask({ title: "Buy milk" });
  await api.updateTask(read, { title: "Buy oat milk" }, { ifMatch: true });

  for (const write of [
    () => api.updateTask(read, { title: "Sell milk" }, { ifMatch: true }),
    () => api.replaceTask(read, { title: "Sell milk" }, { ifMatch: `"${read.version}"` }),
    () => api.completeTask(read, true, { ifMatch: true }),
    () => api.moveTask(read, { after: null }, { ifMatch: true }),
    () => api.deleteTask(read, { ifMatch: true }),
  ]) {
    const refusal = await assertRefused(write(), 412, "precondition_failed");
    assert.equal(refusal.current.title, "Buy oat milk");
  }
  await assert.rejects(api.deleteTask(read.id, { ifMatch: true }), {
    name: "TypeError",
    message: /pass the task as you read it/,
  });
});

test("a task that was created under its own id is not created again", async () => {
  const api = await newcomer();
  const id = newId();
  const created = await api.createTask({ title: " Buy milk ", description: "" }, { id });

  assert.equal(created.id, id);
  assert.deepEqual(await api.createTask({ title: "Buy milk" }, { id }), created);
  const refusal = await assertRefused(api.createTask({ title: "Other" }, { id }), 412);
  assert.deepEqual(refusal.current, created);
});

test("a refusal says what is wrong with which field, and where to look for it", async () => {
  const api = await newcomer();

  const refusal = await assertRefused(api.createTask({ title: " ", order: 1.5 }), 422);
  assert.equal(refusal.code, "validation_failed");
  assert.deepEqual(
    refusal.errors.map(({ pointer, code }) => [pointer, code]),
    [
      ["/title", "blank"],
      ["/order", "wrong_type"],
    ],
  );
  assert.match(refusal.requestId, /^[0-9a-f]{32}$/);
  assert.equal(refusal.message, "The title may not be blank. There is one more error.");
  assert.equal(refusal.problem.type, "urn:problem-type:taskapi:validation_failed");

  await assertRefused(api.getTask(newId()), 404, "task_not_found");
  await assertRefused(api.getTask("../health"), 404);
  await assertRefused(new TaskApi({ baseUrl: BASE }).listTasks(), 401, "token_missing");
});

test("a batch is answered one by one, or done as a whole", async () => {
  const api = await newcomer();
  const missing = { op: "delete", id: newId() };
  const create = { op: "create", data: { title: "Buy milk" } };

  const [created, refused] = await api.batch([create, missing]);
  assert.deepEqual([created.status, created.task.title], [201, "Buy milk"]);
  assert.deepEqual([refused.status, refused.problem.code], [404, "task_not_found"]);
  const refusal = await assertRefused(api.batch([create, missing], { atomic: true }), 404);
  assert.equal(refusal.problem.index, 1);
  assert.equal((await titlesOf(api.tasks())).length, 1);
});

test("all tasks leave as a file and come back, of whatever kind", async () => {
  const api = await newcomer();
  await api.createTask({ title: 'Buy "milk"' });
  const json = await api.exportTasks();
  const csv = await api.exportTasks({ format: "csv" });
  const other = await newcomer();

  assert.equal(JSON.parse(await json.text())[0].title, 'Buy "milk"');
  // As Windows says of a file when a spreadsheet program is installed.
  const named = new File([csv], "Tasks.CSV", { type: "application/vnd.ms-excel" });
  assert.equal((await other.importTasks(named, { dryRun: true })).created, 1);
  assert.equal((await other.importTasks(json)).created, 1);
  assert.equal((await other.importTasks(await csv.text(), { type: "csv" })).existing, 1);
  assert.equal((await other.importTasks('{"title":"x"}', { type: "jsonl" })).created, 1);
  for (const created of [1, 0]) {
    const options = { type: "csv", deduplicate: true };
    assert.equal((await other.importTasks("title\nOnce\n", options)).created, created);
  }
  await assert.rejects(other.importTasks("title\nBuy milk\n"), {
    name: "TypeError",
    message: /Say what it is/,
  });
});

test("a hundred requests may share one signal", async () => {
  const warnings = [];
  process.on("warning", (warning) => warnings.push(warning));
  const api = await newcomer();
  const { signal } = new AbortController();

  await Promise.all(Array.from({ length: 100 }, () => api.listTasks({}, { signal })));
  assert.deepEqual(warnings, []);
});

test("ids that are made here are unique and in the order of their making", async () => {
  const ids = Array.from({ length: 10_000 }, newId);

  assert.deepEqual([...new Set(ids)].sort(), ids);
  assert.match(ids[0], /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const made = parseInt(ids[0].replace("-", "").slice(0, 12), 16);
  assert.ok(Math.abs(Date.now() - made) < 60_000);
});

async function assertRefused(promise, status, code) {
  const refusal = await promise.then(
    () => assert.fail("It was not refused."),
    (error) => error,
  );
  assert.ok(refusal instanceof ProblemError, refusal);
  assert.equal(refusal.status, status);
  if (code) assert.equal(refusal.code, code);
  return refusal;
}
