// The order by hand: by dragging a row at its handle, or with the arrow keys on it.

import { put } from "./list.js";
import { announce, quoted } from "./notices.js";

const EDGE = 72; // pixels from the window's edge, within which it scrolls
const SPEED = 14; // pixels a frame, at most

const element = document.getElementById("tasks");
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

export class Moving {
  #list;
  #actions;
  #listeners = new AbortController();
  #drag = null;

  constructor({ list, actions }) {
    this.#list = list;
    this.#actions = actions;
    const on = (target, type, listener) =>
      target.addEventListener(type, listener, { signal: this.#listeners.signal });
    on(element, "keydown", (event) => this.#onKey(event));
    on(element, "pointerdown", (event) => this.#lift(event));
    on(element, "pointermove", (event) => this.#drag && (this.#drag.pointer = event.clientY));
    on(element, "pointerup", () => this.#land());
    on(element, "pointercancel", () => this.#cancel());
    on(window, "keydown", (event) => event.key === "Escape" && this.#cancel());
  }

  stop() {
    this.#cancel();
    this.#listeners.abort();
  }

  #onKey(event) {
    if (!event.target.matches(".move") || event.ctrlKey || event.metaKey || event.altKey) return;
    const { id, title } = this.#list.rowOf(event.target);
    const tasks = this.#list.tasks();
    const from = tasks.findIndex((task) => task.id === id);
    const last = tasks.length - 1;
    const to = { ArrowUp: from - 1, ArrowDown: from + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 || to > last || to === from) return;
    const anchor = tasks[to].id;
    this.#actions.move(id, to < from ? { before: anchor } : { after: anchor });
    this.#list.reveal(id);
    announce(`${quoted(title)} is number ${to + 1} of ${tasks.length}`);
  }

  #lift(event) {
    const handle = event.target.closest(".move");
    if (!handle || event.button !== 0 || this.#drag) return;
    const item = handle.closest(".task");
    // The list is held to, since the rows in it change their places.
    element.setPointerCapture(event.pointerId);
    handle.focus();
    this.#list.isHeld = true;
    this.#drag = {
      item,
      handle,
      pointer: event.clientY,
      grip: event.clientY - item.getBoundingClientRect().top,
      shift: 0,
      before: item.previousElementSibling,
    };
    item.classList.add("lifted");
    this.#follow();
  }

  /** Let the row be where the pointer is, frame by frame. */
  #follow() {
    const drag = this.#drag;
    if (!drag) return;
    const { item, pointer, grip } = drag;
    scrollBy(0, scrollSpeed(pointer));
    const middle = pointer - grip + item.offsetHeight / 2;
    const previous = item.previousElementSibling;
    const next = item.nextElementSibling;
    if (previous && middle < middleOf(previous)) pass(previous, item, item.nextElementSibling);
    else if (next && middle > middleOf(next)) pass(next, item, item);
    // Where it would be without being dragged, which has just changed if another row passed.
    const place = item.getBoundingClientRect().top - drag.shift;
    drag.shift = pointer - grip - place;
    item.style.transform = `translateY(${drag.shift}px)`;
    requestAnimationFrame(() => this.#follow());
  }

  #land() {
    const drag = this.#drag;
    if (!drag) return;
    const { item, handle, shift, before } = drag;
    this.#letGo();
    if (!isCalm.matches && shift) {
      const frames = [{ transform: `translateY(${shift}px)` }, { transform: "none" }];
      item.animate(frames, { duration: 160, easing: "ease-out" });
    }
    const previous = item.previousElementSibling;
    if (previous !== before) {
      const place = previous
        ? { after: previous.dataset.id }
        : { before: item.nextElementSibling.dataset.id };
      const { id, title } = this.#list.rowOf(item);
      this.#actions.move(id, place);
      announce(`${quoted(title)} is number ${[...element.children].indexOf(item) + 1}`);
    }
    this.#list.draw();
    handle.focus({ preventScroll: true });
  }

  #cancel() {
    if (!this.#drag) return;
    this.#letGo();
    this.#list.draw();
  }

  #letGo() {
    const { item } = this.#drag;
    this.#drag = null;
    this.#list.isHeld = false;
    item.classList.remove("lifted");
    item.style.transform = "";
  }
}

function middleOf(row) {
  const { top, height } = row.getBoundingClientRect();
  return top + height / 2;
}

/** Let a row pass the one that is dragged, and be seen to do so. */
function pass(row, item, next) {
  const from = row.getBoundingClientRect().top;
  put(row, next);
  if (isCalm.matches) return;
  const distance = from - row.getBoundingClientRect().top;
  const frames = [{ transform: `translateY(${distance}px)` }, { transform: "none" }];
  row.animate(frames, { duration: 160, easing: "ease-out" });
}

function scrollSpeed(pointer) {
  const room = innerHeight - pointer;
  if (pointer < EDGE) return -SPEED * Math.min(1, 1 - pointer / EDGE);
  if (room < EDGE) return SPEED * Math.min(1, 1 - room / EDGE);
  return 0;
}
