// Texts that are being typed: they go into the outbox before their editor is left, so that a
// reload, a closed tab or an ended session loses none of them.

import { storage } from "./waiting.js";

const PAUSE = 500; // milliseconds after the last key

const open = new Set();

addEventListener("pagehide", keepDrafts);
document.addEventListener("visibilitychange", keepDrafts);

/** Put what stands in every open editor into the outbox. */
export function keepDrafts() {
  for (const draft of open) draft.keep();
}

/** One field of a task while it is being edited. */
export class Draft {
  #actions;
  #id;
  #name;
  #read;
  #original;
  #basis;
  #timer;
  #hasChanged = false;

  /** `read()` returns the text as it is to be saved, or undefined where it cannot be. */
  constructor(actions, id, name, read) {
    this.#actions = actions;
    this.#id = id;
    this.#name = name;
    this.#read = read;
    this.#basis = actions.basis(id);
    this.#original = this.#basis.before[name];
    open.add(this);
  }

  /** Save soon: a key was pressed. */
  type() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.keep(), PAUSE);
  }

  /** Save what is typed now. */
  keep() {
    clearTimeout(this.#timer);
    const text = this.#read();
    if (text !== undefined) this.#save(text);
  }

  /** Save the text that was there before, where another one has been saved since. */
  revert() {
    if (this.#basis.before[this.#name] !== this.#original) this.#save(this.#original);
    this.#hasChanged = false;
  }

  /** Stop; returns whether the text is another one than before. */
  end() {
    clearTimeout(this.#timer);
    open.delete(this);
    return this.#hasChanged;
  }

  #save(text) {
    const basis = this.#actions.edit(this.#id, { [this.#name]: text }, this.#basis);
    if (!basis) return;
    this.#basis = basis;
    this.#hasChanged = true;
  }
}

const keyOf = (userId) => `taskapi.new-title.${userId}`;

/** Keep the title of a task that is not added yet; without a text there is none. */
export function keepNewTitle(userId, text) {
  try {
    if (text) storage.setItem(keyOf(userId), text);
    else storage.removeItem(keyOf(userId));
  } catch {
    // Where nothing can be stored it lives as long as the page.
  }
}

export function keptNewTitle(userId) {
  return storage?.getItem(keyOf(userId)) ?? "";
}
