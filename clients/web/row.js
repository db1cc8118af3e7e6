// A row of the list: edits the title in place, and the notes in a panel below.

import { Draft } from "./drafts.js";
import { announce, quote, toast } from "./notices.js";

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

  /** Whether a text is being edited, so that the row must stay. */
  get isBusy() {
    return this.#draft !== null;
  }

  draw(task, conflict) {
    if (task !== this.#task) this.#drawTask(task);
    if (conflict?.key !== this.#conflict?.key) this.#drawConflict(conflict);
    else if (conflict) this.#drawOwnText(conflict);
  }

  /** End the editing without another write. */
  stop() {
    this.#draft?.end();
    this.#draft = null;
  }

  /** Offer to keep the text being edited after the task was deleted elsewhere. */
  offerDraft() {
    if (!this.#draft) return;
    this.stop();
    const title = this.#parts["title-editor"].value.trim() || this.#task.title;
    const notes = this.#panel ? this.#panel.notes.value.trim() || null : this.#task.description;
    toast(`${quote(this.#task.title)} was deleted elsewhere while you were editing it.`, {
      action: "Keep as a new task",
      run: () => this.#actions.add(title, notes),
      duration: 0,
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
    details.addEventListener("click", () => this.#togglePanel());
    editor.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        this.#finish({ save: event.key === "Enter" });
        title.focus();
      }
    });
    editor.addEventListener("input", () => this.#draft?.scheduleSave());
    // A switch to another window must not close the editor.
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
    if (save) draft.save();
    else draft.revert();
    if (draft.end()) announce("Saved");
  }

  #togglePanel() {
    const { details, snippet } = this.#parts;
    const isOpen = this.#panel === null;
    details.ariaExpanded = isOpen;
    this.element.classList.toggle("expanded", isOpen);
    if (isOpen) this.#openPanel();
    else {
      this.#panel.element.remove();
      this.#panel = null;
    }
    snippet.hidden = isOpen || !this.#task.description;
  }

  #openPanel() {
    const element = panelTemplate.content.firstElementChild.cloneNode(true);
    const notes = element.querySelector(".notes");
    this.#panel = { element, notes, times: element.querySelector(".times") };
    element.querySelector(".delete").addEventListener("click", () => this.#actions.delete(this.#id));
    const read = () => (notes.value.trim() ? notes.value : null);
    notes.addEventListener("focus", () => {
      this.#draft ??= new Draft(this.#actions, this.#id, "description", read);
    });
    notes.addEventListener("input", () => this.#draft?.scheduleSave());
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
    for (const [button, keep] of [["keep", true], ["discard", false]]) {
      element.querySelector(`.${button}`).addEventListener("click", () => {
        this.#actions.resolveConflict(write.key, { keep });
        this.#parts.title.focus();
      });
    }
    this.element.append(element);
    this.#drawOwnText(write);
  }

  /** Update only the text while the user types, so that a pressed button stays in the DOM. */
  #drawOwnText({ changes }) {
    const [text] = Object.values(changes);
    this.element.querySelector(".yours").textContent = text ?? "(empty)";
  }
}
