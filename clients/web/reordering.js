// Reorder tasks by dragging a row's handle, or with the arrow keys on the handle.

import { moveRow } from "./list.js";
import { announce, quote } from "./notices.js";

const SCROLL_ZONE_PX = 72; // The distance from the window's edge that starts scrolling.
const MAX_SCROLL_PX_PER_FRAME = 14;

const element = document.getElementById("tasks");
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

export class Reordering {
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
    on(element, "pointerdown", (event) => this.#startDrag(event));
    on(element, "pointermove", (event) => this.#drag && (this.#drag.pointer = event.clientY));
    on(element, "pointerup", () => this.#drop());
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
    announce(`${quote(title)} moved to position ${to + 1} of ${tasks.length}`);
  }

  #startDrag(event) {
    const handle = event.target.closest(".move");
    if (!handle || event.button !== 0 || this.#drag) return;
    const item = handle.closest(".task");
    // The list captures the pointer, because the rows move in the DOM during the drag.
    element.setPointerCapture(event.pointerId);
    handle.focus();
    this.#list.isFrozen = true;
    this.#drag = {
      item,
      handle,
      pointer: event.clientY,
      grabOffset: event.clientY - item.getBoundingClientRect().top,
      shift: 0,
      before: item.previousElementSibling,
    };
    item.classList.add("dragging");
    this.#follow();
  }

  /** Move the row to the pointer in every frame. */
  #follow() {
    const drag = this.#drag;
    if (!drag) return;
    const { item, pointer, grabOffset } = drag;
    scrollBy(0, computeScrollSpeed(pointer));
    const middle = pointer - grabOffset + item.offsetHeight / 2;
    const previous = item.previousElementSibling;
    const next = item.nextElementSibling;
    if (previous && middle < computeMiddle(previous)) {
      animateSwap(previous, item, item.nextElementSibling);
    } else if (next && middle > computeMiddle(next)) animateSwap(next, item, item);
    // The position without the drag, which a swap has just changed.
    const top = item.getBoundingClientRect().top - drag.shift;
    drag.shift = pointer - grabOffset - top;
    item.style.transform = `translateY(${drag.shift}px)`;
    requestAnimationFrame(() => this.#follow());
  }

  #drop() {
    const drag = this.#drag;
    if (!drag) return;
    const { item, handle, shift, before } = drag;
    this.#endDrag();
    if (!reducedMotion.matches && shift) {
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
      announce(`${quote(title)} moved to position ${[...element.children].indexOf(item) + 1}`);
    }
    this.#list.draw();
    handle.focus({ preventScroll: true });
  }

  #cancel() {
    if (!this.#drag) return;
    this.#endDrag();
    this.#list.draw();
  }

  #endDrag() {
    const { item } = this.#drag;
    this.#drag = null;
    this.#list.isFrozen = false;
    item.classList.remove("dragging");
    item.style.transform = "";
  }
}

function computeMiddle(row) {
  const { top, height } = row.getBoundingClientRect();
  return top + height / 2;
}

/** Move a row past the dragged one, with an animation. */
function animateSwap(row, item, next) {
  const from = row.getBoundingClientRect().top;
  moveRow(row, next);
  if (reducedMotion.matches) return;
  const distance = from - row.getBoundingClientRect().top;
  const frames = [{ transform: `translateY(${distance}px)` }, { transform: "none" }];
  row.animate(frames, { duration: 160, easing: "ease-out" });
}

function computeScrollSpeed(pointer) {
  const depth = (distance) => Math.min(1, 1 - distance / SCROLL_ZONE_PX);
  const below = innerHeight - pointer;
  if (pointer < SCROLL_ZONE_PX) return -MAX_SCROLL_PX_PER_FRAME * depth(pointer);
  if (below < SCROLL_ZONE_PX) return MAX_SCROLL_PX_PER_FRAME * depth(below);
  return 0;
}
