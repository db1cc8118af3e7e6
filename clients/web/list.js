// The list as it is drawn: the first rows of what is wanted, and more of them as one scrolls.

import { Row } from "./row.js";

const FIRST_ROWS = 80;
const MORE_ROWS = 160; // and half of what there is, so that the end is not far

const element = document.getElementById("tasks");
const more = document.getElementById("more");
const newTitle = document.getElementById("new-title");

export class List {
  view = { filter: "all", query: "" };
  #store;
  #outbox;
  #actions;
  #onDraw;
  #rows = new Map();
  #limit = FIRST_ROWS;
  #isDue = false;
  #observer;
  isHeld = false; // While a row is dragged, the others stay where they are.

  constructor({ store, outbox, actions, onDraw }) {
    this.#store = store;
    this.#outbox = outbox;
    this.#actions = actions;
    this.#onDraw = onDraw;
    store.addEventListener("change", () => this.draw());
    const onSight = (entries) => entries.at(-1).isIntersecting && this.#grow();
    this.#observer = new IntersectionObserver(onSight, { rootMargin: "1500px" });
    this.#observer.observe(more);
    element.replaceChildren();
  }

  /** Draw soon: what changes in one go is drawn once. */
  draw() {
    if (this.#isDue || this.isHeld) return;
    this.#isDue = true;
    // Not when the next frame comes, since there is none while the page is hidden.
    queueMicrotask(() => {
      this.#isDue = false;
      this.drawNow();
    });
  }

  show(view) {
    this.view = { ...this.view, ...view };
    this.#limit = FIRST_ROWS;
    this.drawNow();
  }

  drawNow() {
    const { tasks, counts } = this.#store.select({ ...this.view, kept: this.#busy() });
    const shown = tasks.slice(0, this.#limit);
    const focus = this.#noteFocus();
    this.#remove(new Set(shown.map((task) => task.id)));
    this.#place(shown);
    this.#returnFocus(focus);
    more.hidden = tasks.length <= shown.length;
    this.#onDraw({ counts, found: tasks.length });
  }

  /** All tasks of the view in order, also those for which no row is drawn yet. */
  tasks() {
    return this.#store.select({ ...this.view, kept: this.#busy() }).tasks;
  }

  /** Have the row of a task drawn, and in sight. */
  reveal(id) {
    const index = this.tasks().findIndex((task) => task.id === id);
    this.#limit = Math.max(this.#limit, index + 20);
    this.drawNow();
    this.#rows.get(id)?.element.scrollIntoView({ block: "nearest" });
  }

  isInSight(id) {
    const { bottom, top } = this.#rows.get(id)?.element.getBoundingClientRect() ?? {};
    return bottom > 0 && top < innerHeight;
  }

  /** Whether a text of a task is being written. */
  isBusy(id) {
    return this.#rows.get(id)?.isBusy ?? false;
  }

  stop() {
    this.#observer.disconnect();
    for (const row of this.#rows.values()) row.stop();
    this.#rows.clear();
    element.replaceChildren();
  }

  rowOf(target) {
    const item = target.closest?.(".task");
    return item && this.#rows.get(item.dataset.id);
  }

  /** Where somebody is writing, the row stays, whatever is sought. */
  #busy() {
    return new Set([...this.#rows.values()].filter((row) => row.isBusy).map((row) => row.id));
  }

  #grow() {
    if (more.hidden) return;
    this.#limit += MORE_ROWS + Math.floor(this.#limit / 2);
    this.drawNow();
    // Whether there is still room is told only when it changes.
    this.#observer.unobserve(more);
    this.#observer.observe(more);
  }

  #remove(ids) {
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.rescue();
      row.element.remove();
      this.#rows.delete(id);
    }
  }

  #place(tasks) {
    let next = element.firstElementChild;
    for (const task of tasks) {
      let row = this.#rows.get(task.id);
      if (!row) {
        row = new Row(task.id, this.#actions);
        this.#rows.set(task.id, row);
      }
      row.draw(task, this.#outbox.of(task.id).find((write) => write.conflict));
      if (row.element === next) next = next.nextElementSibling;
      else if (next && next.nextElementSibling === row.element) {
        next = row.element.nextElementSibling; // The one before it has gone further down.
      } else put(row.element, next);
    }
  }

  #noteFocus() {
    const focused = document.activeElement;
    const row = this.rowOf(focused);
    if (!row) return null;
    const index = [...element.children].indexOf(row.element);
    return { focused, index, control: focused.classList[focused.classList.length - 1] };
  }

  /** The focus stays where it was, or goes to what has come there. */
  #returnFocus(focus) {
    if (!focus || document.activeElement === focus.focused) return;
    if (focus.focused.isConnected) {
      focus.focused.focus({ preventScroll: true });
      return;
    }
    const row = element.children[focus.index] ?? element.lastElementChild;
    (row?.querySelector(`.${focus.control}`) ?? newTitle).focus();
  }
}

/** Put a row before another one; where the browser can, what has the focus keeps it. */
export function put(row, next) {
  if (row.isConnected && element.moveBefore) element.moveBefore(row, next);
  else element.insertBefore(row, next);
}
