// What somebody can do with their tasks; each is shown at once and sent by and by.

import { newId } from "../js/taskapi.js";
import { announce, quoted, toast } from "./notices.js";
import { isBasedOn } from "./sending.js";

export class Actions {
  #store;
  #sync;

  constructor(store, sync) {
    this.#store = store;
    this.#sync = sync;
  }

  add(title, description = null) {
    const data = { title: title.trim(), description, order: this.#store.orderOfFirst() };
    this.#sync.write({ kind: "create", id: newId(), data });
    announce(`Added ${quoted(data.title)}`);
  }

  /** What an edit is based on; taken when it is begun. */
  basis(id) {
    return { base: this.#store.known(id)?.version ?? null, before: this.#store.get(id) };
  }

  /** Change texts of a task; returns the basis of the next change, or null where this is none. */
  edit(id, texts, { base, before }) {
    const changes = {};
    for (const [name, text] of Object.entries(texts)) {
      if (text !== asInField(before[name])) changes[name] = text;
    }
    if (Object.keys(changes).length === 0) return null;
    const { title, description } = before;
    const write = { kind: "edit", id, changes, before: { title, description }, base };
    // Other fields may have changed since, which is no contradiction.
    const known = this.#store.known(id);
    if (known && isBasedOn(write, known)) write.base = known.version;
    this.#sync.write(write);
    return { base: write.base, before: { ...before, ...changes } };
  }

  complete(id, completed) {
    const task = this.#store.get(id);
    if (!task || task.completed === completed) return;
    this.#sync.write({ kind: "complete", id, completed, time: new Date().toISOString() });
    announce(`${completed ? "Completed" : "Reopened"} ${quoted(task.title)}`);
  }

  delete(id) {
    const task = this.#store.get(id);
    if (!task) return;
    this.#sync.write({ kind: "delete", id });
    toast(`Deleted ${quoted(task.title)}.`, {
      action: "Undo",
      undoes: true,
      run: () => {
        if (!this.#sync.takeBack("delete", id)) this.#sync.write({ kind: "restore", id, task });
        announce(`${quoted(task.title)} is back`);
      },
    });
  }

  /** Put a task `{after}` or `{before}` another one. */
  move(id, place) {
    this.#sync.write({ kind: "move", id, place });
  }

  settle(key, { keep }) {
    this.#sync.settle(key, { keep });
    announce(keep ? "Your text is kept" : "The other text is taken");
  }
}

/** A text as a field of the page gives it back. */
function asInField(text) {
  return text && text.replace(/\r\n?/g, "\n");
}
