// Compiled, never run: good usage compiles, and wrong usage does not.

import {
  NetworkError,
  ProblemError,
  TaskApi,
  newId,
  type ImportReport,
  type Result,
  type Task,
  type User,
} from "../../../clients/js/taskapi.js";

const api = new TaskApi({ baseUrl: "http://localhost:8000", cookie: true, retries: 2 });
const page: TaskApi = new TaskApi();
new TaskApi({ baseUrl: new URL("http://localhost:8000"), token: async () => "a token" });

api.addEventListener("signin", (event) => console.log(event.detail.user.email));
api.addEventListener("signout", ({ detail: { problem } }) => console.log(problem?.detail));

export async function use(signal: AbortSignal): Promise<void> {
  const user: User = await api.register({ email: "ada@example.com", password: "…", name: null });
  const restored: User | null = await api.restore({ signal });
  console.log(user.name, restored, api.user?.id);

  const task: Task = await api.createTask({ title: "Buy milk" }, { idempotencyKey: newId() });
  await api.createTask({ title: "Buy milk", order: 3 }, { id: newId(), signal });
  await api.updateTask(task, { description: null }, { ifMatch: true });
  await api.replaceTask(task.id, task, { ifMatch: '"42"' });
  await api.completeTask(task);
  await api.completeTask(task, true, { ifMatch: true, signal });
  const moved = await api.moveTask(task, { after: null });
  const neighbours: Task[] = moved.renumbered;
  await api.deleteTask(task, { permanent: true, timeout: 1000 });
  console.log(neighbours);

  const params = { sort: "-title", created_after: new Date() } as const;
  for await (const { title, completed_at } of api.tasks(params)) {
    console.log(title.length, completed_at?.slice(0, 10));
  }
  for await (const { deleted_at } of api.trash({ limit: 10 })) console.log(deleted_at.slice(0, 10));
  const { tasks, next_cursor, total } = await api.listTasks({ q: "milk", include: "total" });
  console.log(tasks.length, next_cursor ?? "", total ?? 0);

  for await (const { changes, next, reset } of api.changes({ wait: 25 }, { signal })) {
    for (const change of changes) {
      if (change.op === "delete") console.log(change.id);
      else console.log(change.task.title, next, reset);
    }
  }

  const results: Result[] = await api.batch(
    [
      { op: "create", id: newId(), data: { title: "Buy bread" } },
      { op: "complete", id: task.id, if_match: task.version },
    ],
    { atomic: true },
  );
  const report: ImportReport = await api.importTasks(await api.exportTasks({ format: "csv" }));
  console.log(results[0]?.task?.title, report.rows[0]?.errors?.[0]?.detail);
}

export function tell(error: unknown): string {
  if (error instanceof ProblemError) {
    const pointers = error.errors.map(({ pointer }) => pointer).join();
    return `${error.status} ${error.code} ${error.current?.title} ${pointers} ${error.retryAfter}`;
  }
  return error instanceof NetworkError ? String(error.cause) : "";
}

export async function misuse(task: Task, signal: AbortSignal): Promise<void> {
  // @ts-expect-error -- A task needs a title.
  await api.createTask({ description: "Oat" });
  // @ts-expect-error -- No task has this field.
  await api.updateTask(task, { titel: "Buy milk" });
  // @ts-expect-error -- Only the service writes this field.
  await api.updateTask(task, { version: 3 });
  // @ts-expect-error -- A title is text.
  await api.updateTask(task, { title: null });
  // @ts-expect-error -- There is no such order.
  await api.listTasks({ sort: "colour" });
  // @ts-expect-error -- No list takes this parameter.
  api.tasks({ complete: true });
  // @ts-expect-error -- Either after or before.
  await api.moveTask(task, { between: [] });
  // @ts-expect-error -- A signal is an option.
  await api.getTask(task, signal);
  // @ts-expect-error -- A task of your own id is named by it, and takes no key.
  await api.createTask({ title: "Buy milk" }, { id: newId(), idempotencyKey: newId() });
  // @ts-expect-error -- All who restore wait for the same exchange.
  await api.restore({ retries: 0 });
  // @ts-expect-error -- It is made of a problem, and not of a message.
  const refusal = new ProblemError("No.");
  // @ts-expect-error -- What a proxy has answered is in no log of the service.
  console.log(refusal.requestId.length);
  // @ts-expect-error -- A name has to be given with each operation.
  await api.batch([{ op: "delete" }]);
  // @ts-expect-error -- What is undone by a signout may be nobody.
  console.log(api.user.name);
  // @ts-expect-error -- It is read, not set.
  api.user = null;
  // @ts-expect-error -- An outside token has no cookie.
  new TaskApi({ token: "a token", cookie: true });
  // @ts-expect-error -- There is no such event, and so none with details.
  page.addEventListener("sign-out", ({ detail }) => console.log(detail));
  for await (const { changes } of api.changes()) {
    // @ts-expect-error -- What was deleted has no task.
    console.log(changes[0]?.task.title);
  }
}
