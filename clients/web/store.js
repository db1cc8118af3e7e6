// All tasks of the user: the service's version, and the shown version with the pending writes
// applied on top.

import { makeMatcher } from "./words.js";

const ORDER_GAP = 1024; // Between a new task and the first one; the service renumbers if necessary.
const MIN_ORDER = -(2 ** 31);

/** Dispatches `change` when the shown tasks have changed. */
export class Store extends EventTarget {
  isComplete = false;
  #outbox;
  #confirmed = new Map(); // The service's version by id.
  #shown = new Map();
  #ids = null; // The shown ids in order; null if outdated.
  #stale = new Set(); // Ids of the previous copy that the new one has not delivered.

  constructor(outbox) {
    super();
    this.#outbox = outbox;
    this.showWrites();
  }

  /** Return the shown version of a task. */
  get(id) {
    return this.#shown.get(id);
  }

  /** Return the service's version of a task. */
  confirmed(id) {
    return this.#confirmed.get(id);
  }

  /** Store tasks from a response of the service. */
  putTasks(...tasks) {
    for (const task of tasks) {
      this.#stale.delete(task.id);
      // Responses may arrive out of order.
      if (this.#confirmed.get(task.id)?.version > task.version) continue;
      this.#confirmed.set(task.id, task);
      this.#project(task.id);
    }
    this.#dispatchChange();
  }

  drop(id) {
    this.#confirmed.delete(id);
    this.#project(id);
    this.#dispatchChange();
  }

  /** Apply a page of the change feed; `reset` begins a new copy. */
  follow({ changes, has_more: hasMore, reset }, isFirst) {
    if (reset || isFirst) this.#stale = new Set(this.#confirmed.keys());
    for (const change of changes) {
      if (change.op === "upsert") this.putTasks(change.task);
      else this.drop(change.id);
    }
    if (hasMore) return;
    for (const id of this.#stale) this.drop(id);
    this.#stale.clear();
    this.isComplete = true;
    this.#dispatchChange();
  }

  /** Apply the pending writes to a task again. */
  show(id) {
    this.#ids = null; // The writes may include a move.
    this.#project(id);
    this.#dispatchChange();
  }

  /** Apply the pending writes to all tasks again, after the outbox has changed. */
  showWrites() {
    this.#ids = null;
    this.#shown.clear();
    const written = this.#outbox.writes.map((write) => write.id);
    for (const id of new Set([...this.#confirmed.keys(), ...written])) this.#project(id);
    this.#dispatchChange();
  }

  /** Compute the `order` of a task before all others. */
  computeFirstOrder() {
    const [first] = this.#order();
    return first ? Math.max(MIN_ORDER, this.#shown.get(first).order - ORDER_GAP) : 0;
  }

  /** Return the counts and the tasks of a view in order; tasks in `pinned` are always included. */
  select({ filter, query, pinned }) {
    const counts = { all: 0, open: 0, done: 0 };
    const matches = makeMatcher(query);
    const tasks = [];
    for (const id of this.#order()) {
      const task = this.#shown.get(id);
      const kind = task.completed ? "done" : "open";
      counts.all += 1;
      counts[kind] += 1;
      const fits = (filter === "all" || filter === kind) && (!matches || matches(task));
      if (fits || pinned.has(id)) tasks.push(task);
    }
    return { tasks, counts };
  }

  #project(id) {
    const before = this.#shown.get(id);
    let task = this.#confirmed.get(id);
    for (const write of this.#outbox.of(id)) task = applyWrite(write, task);
    if (task) this.#shown.set(id, task);
    else this.#shown.delete(id);
    if (before?.order !== task?.order) this.#ids = null;
  }

  #order() {
    if (this.#ids) return this.#ids;
    const ids = [...this.#shown.values()].sort(compareOrder).map((task) => task.id);
    for (const write of this.#outbox.writes) {
      if (write.kind === "move") applyMove(ids, write);
    }
    this.#ids = ids;
    return ids;
  }

  #dispatchChange() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Compare tasks like the service's sort by `order`. */
function compareOrder(one, other) {
  return one.order - other.order || (one.id < other.id ? -1 : 1);
}

/** Apply a write to a task; return the changed task, or undefined if it is deleted. */
function applyWrite(write, task) {
  switch (write.conflict ? "none" : write.kind) {
    case "create":
      return task ?? { id: write.id, completed: false, completed_at: null, ...write.data };
    case "edit":
      return task && { ...task, ...write.changes };
    case "complete": {
      const time = write.completed ? (task?.completed_at ?? write.time) : null;
      return task && { ...task, completed: write.completed, completed_at: time };
    }
    case "delete":
      return undefined;
    case "restore":
      return task ?? write.task;
    default:
      return task;
  }
}

function applyMove(ids, { id, place }) {
  const from = ids.indexOf(id);
  const [anchor] = Object.values(place);
  if (from < 0 || !ids.includes(anchor)) return;
  ids.splice(from, 1);
  ids.splice(ids.indexOf(anchor) + ("after" in place ? 1 : 0), 0, id);
}
