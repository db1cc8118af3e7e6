// The user's actions on tasks: each takes effect in the list at once, and is sent later.

import { newId } from "../js/taskapi.js";
import { announce, quote, toast } from "./notices.js";
import { isBasedOn } from "./writes.js";

export class Actions {
  #store;
  #sync;

  constructor(store, sync) {
    this.#store = store;
    this.#sync = sync;
  }

  add(title, description = null) {
    const data = { title: title.trim(), description, order: this.#store.computeFirstOrder() };
    this.#sync.write({ kind: "create", id: newId(), data });
    announce(`Added ${quote(data.title)}`);
  }

  /** Return the version and the task that an edit starts from. */
  basis(id) {
    return { base: this.#store.confirmed(id)?.version ?? null, before: this.#store.get(id) };
  }

  /** Change texts of a task; return the basis of the next edit, or null without a change. */
  edit(id, texts, { base, before }) {
    const changes = {};
    for (const [name, text] of Object.entries(texts)) {
      if (text !== normaliseLineEndings(before[name])) changes[name] = text;
    }
    if (Object.keys(changes).length === 0) return null;
    const { title, description } = before;
    const write = { kind: "edit", id, changes, before: { title, description }, base };
    // Changes of other fields since then are no conflict.
    const confirmed = this.#store.confirmed(id);
    if (confirmed && isBasedOn(write, confirmed)) write.base = confirmed.version;
    this.#sync.write(write);
    return { base: write.base, before: { ...before, ...changes } };
  }

  complete(id, completed) {
    const task = this.#store.get(id);
    if (!task || task.completed === completed) return;
    this.#sync.write({ kind: "complete", id, completed, time: new Date().toISOString() });
    announce(`${completed ? "Completed" : "Reopened"} ${quote(task.title)}`);
  }

  delete(id) {
    const task = this.#store.get(id);
    if (!task) return;
    this.#sync.write({ kind: "delete", id });
    toast(`Deleted ${quote(task.title)}.`, {
      action: "Undo",
      isUndo: true,
      run: () => {
        if (!this.#sync.cancel("delete", id)) this.#sync.write({ kind: "restore", id, task });
        announce(`${quote(task.title)} is restored`);
      },
    });
  }

  /** Move a task `{after}` or `{before}` another one. */
  move(id, place) {
    this.#sync.write({ kind: "move", id, place });
  }

  resolveConflict(key, { keep }) {
    this.#sync.resolveConflict(key, { keep });
    announce(keep ? "Your version is kept" : "The other version is used");
  }
}

/** Normalise line endings as text fields do. */
function normaliseLineEndings(text) {
  return text && text.replace(/\r\n?/g, "\n");
}
