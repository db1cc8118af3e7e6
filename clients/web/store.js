// All tasks of the user: as the service has them, and, with the writes that it does not know
// yet on top, as they are shown.

import { finder } from "./words.js";

const GAP = 1024; // between a new task and the first one; the service finds room where it needs some
const LOWEST = -(2 ** 31);

/** Tells `change` when what is shown has changed. */
export class Store extends EventTarget {
  isComplete = false;
  #outbox;
  #known = new Map(); // As the service has them.
  #shown = new Map();
  #ids = null; // Those that are shown, in their order; null where it is to be found out.
  #unseen = new Set(); // What was known before a copy was begun anew, and has not come in it.

  constructor(outbox) {
    super();
    this.#outbox = outbox;
    this.showWrites();
  }

  /** A task as it is shown. */
  get(id) {
    return this.#shown.get(id);
  }

  /** A task as the service has it. */
  known(id) {
    return this.#known.get(id);
  }

  /** Take tasks in that the service has answered. */
  take(...tasks) {
    for (const task of tasks) {
      this.#unseen.delete(task.id);
      // What is on its way longer than a later answer is older.
      if (this.#known.get(task.id)?.version > task.version) continue;
      this.#known.set(task.id, task);
      this.#project(task.id);
    }
    this.#tell();
  }

  drop(id) {
    this.#known.delete(id);
    this.#project(id);
    this.#tell();
  }

  /** Take in an answer of the change feed; one that resets begins a new copy. */
  follow({ changes, has_more: hasMore, reset }, isFirst) {
    if (reset || isFirst) this.#unseen = new Set(this.#known.keys());
    for (const change of changes) {
      if (change.op === "upsert") this.take(change.task);
      else this.drop(change.id);
    }
    if (hasMore) return;
    for (const id of this.#unseen) this.drop(id);
    this.#unseen.clear();
    this.isComplete = true;
    this.#tell();
  }

  /** Show what has become of a task, by the writes that wait. */
  show(id) {
    this.#ids = null; // It may have been moved.
    this.#project(id);
    this.#tell();
  }

  /** Show all anew: the writes that wait are others than before. */
  showWrites() {
    this.#ids = null;
    this.#shown.clear();
    const written = this.#outbox.writes.map((write) => write.id);
    for (const id of new Set([...this.#known.keys(), ...written])) this.#project(id);
    this.#tell();
  }

  /** The `order` of a task that is to come before all others. */
  orderOfFirst() {
    const [first] = this.#order();
    return first ? Math.max(LOWEST, this.#shown.get(first).order - GAP) : 0;
  }

  /** What there is in a view, in order; `kept` is shown whatever is sought. */
  select({ filter, query, kept }) {
    const counts = { all: 0, open: 0, done: 0 };
    const isFound = finder(query);
    const tasks = [];
    for (const id of this.#order()) {
      const task = this.#shown.get(id);
      const kind = task.completed ? "done" : "open";
      counts.all += 1;
      counts[kind] += 1;
      const fits = (filter === "all" || filter === kind) && (!isFound || isFound(task));
      if (fits || kept.has(id)) tasks.push(task);
    }
    return { tasks, counts };
  }

  #project(id) {
    const before = this.#shown.get(id);
    let task = this.#known.get(id);
    for (const write of this.#outbox.of(id)) task = applied(write, task);
    if (task) this.#shown.set(id, task);
    else this.#shown.delete(id);
    if (before?.order !== task?.order) this.#ids = null;
  }

  #order() {
    if (this.#ids) return this.#ids;
    const inOrder = [...this.#shown.values()].sort(byOrder).map((task) => task.id);
    for (const write of this.#outbox.writes) {
      if (write.kind === "move") moveIn(inOrder, write);
    }
    this.#ids = inOrder;
    return inOrder;
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** As the service sorts by `order`. */
function byOrder(one, other) {
  return one.order - other.order || (one.id < other.id ? -1 : 1);
}

/** What a write makes of a task. */
function applied(write, task) {
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

function moveIn(ids, { id, place }) {
  const from = ids.indexOf(id);
  const [anchor] = Object.values(place);
  if (from < 0 || !ids.includes(anchor)) return;
  ids.splice(from, 1);
  ids.splice(ids.indexOf(anchor) + ("after" in place ? 1 : 0), 0, id);
}
