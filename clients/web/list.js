// Draw the list of tasks: the first rows of the view, and more while scrolling.

import { Row } from "./row.js";

const INITIAL_ROWS = 80;
const ROWS_PER_GROWTH = 160; // Plus half of the present rows, so that few steps reach the end.

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
  #limit = INITIAL_ROWS;
  #isDue = false;
  #observer;
  isFrozen = false; // True during a drag, when the list must not be redrawn.

  constructor({ store, outbox, actions, onDraw }) {
    this.#store = store;
    this.#outbox = outbox;
    this.#actions = actions;
    this.#onDraw = onDraw;
    store.addEventListener("change", () => this.draw());
    const onIntersect = (entries) => entries.at(-1).isIntersecting && this.#grow();
    this.#observer = new IntersectionObserver(onIntersect, { rootMargin: "1500px" });
    this.#observer.observe(more);
    element.replaceChildren();
  }

  /** Draw in a microtask, once for several changes. */
  draw() {
    if (this.#isDue || this.isFrozen) return;
    this.#isDue = true;
    // Not in an animation frame, because a hidden page has none.
    queueMicrotask(() => {
      this.#isDue = false;
      this.drawNow();
    });
  }

  show(view) {
    this.view = { ...this.view, ...view };
    this.#limit = INITIAL_ROWS;
    this.drawNow();
  }

  drawNow() {
    const { tasks, counts } = this.#store.select({ ...this.view, pinned: this.#findBusyRows() });
    const shown = tasks.slice(0, this.#limit);
    const focus = this.#captureFocus();
    this.#remove(new Set(shown.map((task) => task.id)));
    this.#arrange(shown);
    this.#restoreFocus(focus);
    more.hidden = tasks.length <= shown.length;
    this.#onDraw({ counts, found: tasks.length });
  }

  /** Return all tasks of the view in order, including those without a row. */
  tasks() {
    return this.#store.select({ ...this.view, pinned: this.#findBusyRows() }).tasks;
  }

  /** Draw the row of a task and scroll to it. */
  reveal(id) {
    const index = this.tasks().findIndex((task) => task.id === id);
    this.#limit = Math.max(this.#limit, index + 20);
    this.drawNow();
    this.#rows.get(id)?.element.scrollIntoView({ block: "nearest" });
  }

  isVisible(id) {
    const { bottom, top } = this.#rows.get(id)?.element.getBoundingClientRect() ?? {};
    return bottom > 0 && top < innerHeight;
  }

  /** Return whether a text of the task is being edited. */
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

  /** Return the ids of rows being edited, which stay visible in any view. */
  #findBusyRows() {
    return new Set([...this.#rows.values()].filter((row) => row.isBusy).map((row) => row.id));
  }

  #grow() {
    if (more.hidden) return;
    this.#limit += ROWS_PER_GROWTH + Math.floor(this.#limit / 2);
    this.drawNow();
    // The observer reports only changes, so it is restarted.
    this.#observer.unobserve(more);
    this.#observer.observe(more);
  }

  #remove(ids) {
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.offerDraft();
      row.element.remove();
      this.#rows.delete(id);
    }
  }

  #arrange(tasks) {
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
        next = row.element.nextElementSibling; // The row before it has moved down.
      } else moveRow(row.element, next);
    }
  }

  #captureFocus() {
    const focused = document.activeElement;
    const row = this.rowOf(focused);
    if (!row) return null;
    const index = [...element.children].indexOf(row.element);
    return { focused, index, control: focused.classList[focused.classList.length - 1] };
  }

  /** Restore the focus to its element, or move it to the row now in that position. */
  #restoreFocus(focus) {
    if (!focus || document.activeElement === focus.focused) return;
    if (focus.focused.isConnected) {
      focus.focused.focus({ preventScroll: true });
      return;
    }
    const row = element.children[focus.index] ?? element.lastElementChild;
    (row?.querySelector(`.${focus.control}`) ?? newTitle).focus();
  }
}

/** Move a row before another one; `moveBefore` preserves the focus if the browser has it. */
export function moveRow(row, next) {
  if (row.isConnected && element.moveBefore) element.moveBefore(row, next);
  else element.insertBefore(row, next);
}
