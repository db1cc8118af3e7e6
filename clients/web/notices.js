// What the page says by itself: toasts with something to do about them, words for a screen
// reader, and the question before what cannot be undone.

const STAYS = 8000; // milliseconds

const toasts = document.getElementById("toasts");
const announcer = document.getElementById("announcer");
const template = document.getElementById("toast-template");
const question = document.getElementById("confirm");

/** Say it to a screen reader alone: whoever looks sees it already. */
export function announce(text) {
  announcer.textContent = "";
  // What is beside a modal dialog is inert, and not read out.
  const place = [...document.querySelectorAll("dialog:modal")].at(-1) ?? document.body;
  if (announcer.parentElement !== place) place.append(announcer);
  // What is the same as before is said again only where it has been gone.
  requestAnimationFrame(() => (announcer.textContent = text));
}

/**
 * Show a text for a while, and `action`, which `run` does; where it `undoes` something, by the
 * usual keys as well. It stays while somebody is at it.
 */
export function toast(text, { action, run, undoes = false, stays = STAYS } = {}) {
  const element = template.content.firstElementChild.cloneNode(true);
  const button = element.querySelector(".action");
  let before = null;
  let timer;
  const close = () => {
    clearTimeout(timer);
    const hadFocus = element.contains(document.activeElement);
    element.remove();
    if (hadFocus && before?.isConnected) before.focus();
  };
  const wait = () => {
    clearTimeout(timer);
    if (stays) timer = setTimeout(close, stays);
  };
  element.querySelector("p").textContent = text;
  button.textContent = action ?? "";
  button.hidden = !action;
  if (undoes) button.setAttribute("aria-keyshortcuts", "Control+Z");
  button.addEventListener("click", () => {
    close();
    run();
  });
  element.querySelector(".dismiss").addEventListener("click", close);
  element.addEventListener("focusin", ({ relatedTarget }) => {
    if (!element.contains(relatedTarget)) before = relatedTarget;
  });
  for (const type of ["pointerenter", "focusin"]) {
    element.addEventListener(type, () => clearTimeout(timer));
  }
  for (const type of ["pointerleave", "focusout"]) element.addEventListener(type, wait);
  toasts.append(element);
  while (toasts.children.length > 3) toasts.firstElementChild.remove();
  announce(undoes ? `${text} Control Z undoes it.` : text);
  wait();
  return close;
}

// Whoever has no mouse is not to go a long way for it; in a text the keys undo what was typed.
addEventListener("keydown", (event) => {
  const isUndo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  const isWriting = event.target.matches("textarea, input:not([type=checkbox])") && event.target.value;
  if (!isUndo || isWriting) return;
  const action = [...toasts.querySelectorAll(".action[aria-keyshortcuts]")].at(-1);
  if (!action) return;
  event.preventDefault();
  action.click();
});

/** Take all toasts away. */
export function clearToasts() {
  toasts.replaceChildren();
}

/** Ask; resolves to whether the answer was yes. */
export function confirm({ title, text, yes }) {
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-text").textContent = text;
  document.getElementById("confirm-yes").textContent = yes;
  question.returnValue = "";
  question.showModal();
  return new Promise((resolve) => {
    question.addEventListener("close", () => resolve(question.returnValue === "yes"), { once: true });
  });
}

/** A title as it stands in a sentence. */
export function quoted(title) {
  const shown = title.length > 60 ? `${title.slice(0, 59)}…` : title;
  return `“${shown}”`;
}

/** What a refusal says that is of use to whoever reads it. */
export function reasonOf(error) {
  return error.detail ?? error.message;
}
