// Notifications: toasts with an action, announcements for screen readers, and the confirmation of
// irreversible actions.

const TOAST_MS = 8000;

const toasts = document.getElementById("toasts");
const announcer = document.getElementById("announcer");
const template = document.getElementById("toast-template");
const confirmDialog = document.getElementById("confirm");

/** Announce a text to screen readers only, for a change that is visible anyway. */
export function announce(text) {
  announcer.textContent = "";
  // Content outside a modal dialog is inert and not announced.
  const place = [...document.querySelectorAll("dialog:modal")].at(-1) ?? document.body;
  if (announcer.parentElement !== place) place.append(announcer);
  // An unchanged text is announced again only after it was removed.
  requestAnimationFrame(() => (announcer.textContent = text));
}

/**
 * Show a text for `duration` ms (0: until dismissed), with a button `action` that calls `run`. With
 * `isUndo`, Ctrl+Z triggers the action too. Hover and focus keep the toast open.
 */
export function toast(text, { action, run, isUndo = false, duration = TOAST_MS } = {}) {
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
    if (duration) timer = setTimeout(close, duration);
  };
  element.querySelector("p").textContent = text;
  button.textContent = action ?? "";
  button.hidden = !action;
  if (isUndo) button.setAttribute("aria-keyshortcuts", "Control+Z");
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
  announce(isUndo ? `${text} Press Control Z to undo.` : text);
  wait();
  return close;
}

// Undo by keyboard from anywhere; in a text field with content, Ctrl+Z undoes the typing.
addEventListener("keydown", (event) => {
  const isUndoKey = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  const isWriting = event.target.matches("textarea, input:not([type=checkbox])") && event.target.value;
  if (!isUndoKey || isWriting) return;
  const action = [...toasts.querySelectorAll(".action[aria-keyshortcuts]")].at(-1);
  if (!action) return;
  event.preventDefault();
  action.click();
});

/** Remove all toasts. */
export function clearToasts() {
  toasts.replaceChildren();
}

/** Ask for confirmation; resolve to whether the user confirmed. */
export function confirm({ title, text, yes }) {
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-text").textContent = text;
  document.getElementById("confirm-yes").textContent = yes;
  confirmDialog.returnValue = "";
  confirmDialog.showModal();
  return new Promise((resolve) => {
    confirmDialog.addEventListener("close", () => resolve(confirmDialog.returnValue === "yes"), { once: true });
  });
}

/** Quote a title for a sentence, shortened to 60 characters. */
export function quote(title) {
  const shown = title.length > 60 ? `${title.slice(0, 59)}…` : title;
  return `“${shown}”`;
}

/** Return the sentence of an error for the user. */
export function describeError(error) {
  return error.detail ?? error.message;
}
