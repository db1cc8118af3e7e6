// A task in the list: its texts are edited where they stand, and its notes unfold below it.

import { Draft } from "./drafts.js";
import { announce, quoted, toast } from "./notices.js";

const template = document.getElementById("task-template");
const panelTemplate = document.getElementById("details-template");
const conflictTemplate = document.getElementById("conflict-template");
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class Row {
  #id;
  #actions;
  #task = null;
  #draft = null; // While a text is being edited.
  #conflict = null;
  #parts;
  #panel = null;

  constructor(id, actions) {
    this.#id = id;
    this.#actions = actions;
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.id = id;
    const find = (name) => this.element.querySelector(`.${name}`);
    this.#parts = Object.fromEntries(
      ["check", "title", "title-editor", "snippet", "delete", "details", "move"].map((name) => [name, find(name)]),
    );
    this.#listen();
  }

  get id() {
    return this.#id;
  }

  get title() {
    return this.#task.title;
  }

  /** Whether somebody is at it, so that it must not go. */
  get isBusy() {
    return this.#draft !== null;
  }

  draw(task, conflict) {
    if (task !== this.#task) this.#drawTask(task);
    if (conflict?.key !== this.#conflict?.key) this.#drawConflict(conflict);
    else if (conflict) this.#drawYours(conflict);
  }

  /** End the editing without another write. */
  stop() {
    this.#draft?.end();
    this.#draft = null;
  }

  /** The task is gone; what was being written about it is not to be lost with it. */
  rescue() {
    if (!this.#draft) return;
    this.stop();
    const title = this.#parts["title-editor"].value.trim() || this.#task.title;
    const notes = this.#panel ? this.#panel.notes.value.trim() || null : this.#task.description;
    toast(`${quoted(this.#task.title)} was deleted elsewhere while you were writing.`, {
      action: "Keep as a new task",
      run: () => this.#actions.add(title, notes),
      stays: 0,
    });
  }

  #drawTask(task) {
    this.#task = task;
    const { check, title, snippet, details, move } = this.#parts;
    const { completed, description } = task;
    this.element.classList.toggle("completed", completed);
    check.checked = completed;
    check.ariaLabel = `Completed: ${task.title}`;
    title.textContent = task.title;
    snippet.textContent = description?.trim().split("\n", 1)[0] ?? "";
    snippet.hidden = !description || this.#panel !== null;
    this.#parts.delete.ariaLabel = `Delete ${task.title}`;
    details.ariaLabel = `Notes of ${task.title}`;
    move.ariaLabel = `Move ${task.title}`;
    if (this.#panel) this.#drawPanel();
  }

  #listen() {
    const { check, title, details, "title-editor": editor } = this.#parts;
    check.addEventListener("change", () => this.#actions.complete(this.#id, check.checked));
    title.addEventListener("click", () => this.#edit());
    this.#parts.delete.addEventListener("click", () => this.#actions.delete(this.#id));
    details.addEventListener("click", () => this.#toggle());
    editor.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        this.#finish({ save: event.key === "Enter" });
        title.focus();
      }
    });
    editor.addEventListener("input", () => this.#draft?.type());
    // Not when the window loses it: one may look something up elsewhere.
    editor.addEventListener("blur", () => document.hasFocus() && this.#finish({ save: true }));
  }

  #edit() {
    const { title, "title-editor": editor } = this.#parts;
    this.#draft = new Draft(this.#actions, this.#id, "title", () => editor.value.trim() || undefined);
    editor.value = this.#task.title;
    editor.ariaLabel = `Title of ${this.#task.title}`;
    title.hidden = true;
    editor.hidden = false;
    editor.focus();
    editor.setSelectionRange(editor.value.length, editor.value.length);
  }

  #finish({ save }) {
    if (!this.#draft) return;
    this.#close({ save });
    const { title, "title-editor": editor } = this.#parts;
    editor.hidden = true;
    title.hidden = false;
  }

  #close({ save }) {
    const draft = this.#draft;
    this.#draft = null;
    if (save) draft.keep();
    else draft.revert();
    if (draft.end()) announce("Saved");
  }

  #toggle() {
    const { details, snippet } = this.#parts;
    const isOpen = this.#panel === null;
    details.ariaExpanded = isOpen;
    this.element.classList.toggle("unfolded", isOpen);
    if (isOpen) this.#unfold();
    else {
      this.#panel.element.remove();
      this.#panel = null;
    }
    snippet.hidden = isOpen || !this.#task.description;
  }

  #unfold() {
    const element = panelTemplate.content.firstElementChild.cloneNode(true);
    const notes = element.querySelector(".notes");
    this.#panel = { element, notes, times: element.querySelector(".times") };
    element.querySelector(".delete").addEventListener("click", () => this.#actions.delete(this.#id));
    const read = () => (notes.value.trim() ? notes.value : null);
    notes.addEventListener("focus", () => {
      this.#draft ??= new Draft(this.#actions, this.#id, "description", read);
    });
    notes.addEventListener("input", () => this.#draft?.type());
    notes.addEventListener("keydown", (event) => {
      const isDone = event.key === "Enter" && (event.ctrlKey || event.metaKey);
      if (event.key === "Escape") {
        this.#close({ save: false });
        notes.value = this.#task.description ?? "";
      }
      if (event.key === "Escape" || isDone) this.#parts.details.focus();
    });
    notes.addEventListener("blur", () => {
      if (document.hasFocus() && this.#draft) this.#close({ save: true });
    });
    this.element.append(element);
    this.#drawPanel();
  }

  #drawPanel() {
    const { notes, times } = this.#panel;
    if (document.activeElement !== notes) notes.value = this.#task.description ?? "";
    const { created_at: created, completed_at: completed } = this.#task;
    times.textContent = [
      created && `Created ${time.format(new Date(created))}`,
      completed && `Completed ${time.format(new Date(completed))}`,
    ].filter(Boolean).join(" · ");
  }

  #drawConflict(write) {
    this.#conflict = write;
    this.element.querySelector(".conflict")?.remove();
    if (!write) return;
    const element = conflictTemplate.content.firstElementChild.cloneNode(true);
    const [name] = Object.keys(write.changes);
    element.querySelector(".theirs").textContent = write.conflict[name] ?? "(empty)";
    for (const [button, keep] of [["keep", true], ["take", false]]) {
      element.querySelector(`.${button}`).addEventListener("click", () => {
        this.#actions.settle(write.key, { keep });
        this.#parts.title.focus();
      });
    }
    this.element.append(element);
    this.#drawYours(write);
  }

  /** Draw the text alone: it changes as the user types on, and a pressed button must stay. */
  #drawYours({ changes }) {
    const [text] = Object.values(changes);
    this.element.querySelector(".yours").textContent = text ?? "(empty)";
  }
}
