// Save typed text to the outbox before its editor is closed, so that a reload, a closed tab or an
// ended session loses none.

import { storage } from "./platform.js";

const SAVE_DELAY_MS = 500; // After the last key.

const openDrafts = new Set();

addEventListener("pagehide", saveDrafts);
document.addEventListener("visibilitychange", saveDrafts);

/** Save the text of every open editor to the outbox. */
export function saveDrafts() {
  for (const draft of openDrafts) draft.save();
}

/** A field of a task that is being edited. */
export class Draft {
  #actions;
  #id;
  #name;
  #read;
  #original;
  #basis;
  #timer;
  #hasChanged = false;

  /** `read()` returns the text to save, or undefined if it is invalid. */
  constructor(actions, id, name, read) {
    this.#actions = actions;
    this.#id = id;
    this.#name = name;
    this.#read = read;
    this.#basis = actions.basis(id);
    this.#original = this.#basis.before[name];
    openDrafts.add(this);
  }

  /** Save the text 500 ms after the last key. */
  scheduleSave() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.save(), SAVE_DELAY_MS);
  }

  /** Save the current text. */
  save() {
    clearTimeout(this.#timer);
    const text = this.#read();
    if (text !== undefined) this.#save(text);
  }

  /** Restore the original text if another one has been saved. */
  revert() {
    if (this.#basis.before[this.#name] !== this.#original) this.#save(this.#original);
    this.#hasChanged = false;
  }

  /** End the editing; return whether the text has changed. */
  end() {
    clearTimeout(this.#timer);
    openDrafts.delete(this);
    return this.#hasChanged;
  }

  #save(text) {
    const basis = this.#actions.edit(this.#id, { [this.#name]: text }, this.#basis);
    if (!basis) return;
    this.#basis = basis;
    this.#hasChanged = true;
  }
}

const storageKey = (userId) => `taskapi.new-title.${userId}`;

/** Store the title of a task that is not added yet; an empty text removes it. */
export function storeNewTitle(userId, text) {
  try {
    if (text) storage.setItem(storageKey(userId), text);
    else storage.removeItem(storageKey(userId));
  } catch {
    // Without storage the title lasts only as long as the page.
  }
}

export function loadNewTitle(userId) {
  return storage?.getItem(storageKey(userId)) ?? "";
}
