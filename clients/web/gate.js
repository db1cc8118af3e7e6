// The way in: logging in and opening an account.

import { reasonOf } from "./notices.js";

const form = document.getElementById("gate-form");
const message = document.getElementById("gate-message");
const fault = document.getElementById("gate-fault");
const submit = form.querySelector("[type=submit]");
const TEXTS = {
  login: {
    title: "Welcome back",
    submit: "Log in",
    question: "New here?",
    other: "Create an account",
    password: "current-password",
  },
  register: {
    title: "Create an account",
    submit: "Create account",
    question: "Been here before?",
    other: "Log in",
    password: "new-password",
  },
};

export class Gate {
  #api;
  #onEnter;
  #mode = "login";

  /** `onEnter(user)` is called when somebody has come in. */
  constructor(api, onEnter) {
    this.#api = api;
    this.#onEnter = onEnter;
    document.getElementById("gate-switch").addEventListener("click", () => {
      this.#show(this.#mode === "login" ? "register" : "login");
      form.elements[this.#mode === "login" ? "email" : "name"].focus();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enter();
    });
  }

  open(text = "") {
    form.reset();
    message.textContent = text;
    message.hidden = !text;
    this.#show("login");
    form.elements.email.focus();
  }

  #show(mode) {
    this.#mode = mode;
    const texts = TEXTS[mode];
    document.getElementById("gate-title").textContent = texts.title;
    document.getElementById("gate-question").textContent = texts.question;
    document.getElementById("gate-switch").textContent = texts.other;
    document.getElementById("gate-password-hint").hidden = mode === "login";
    submit.textContent = texts.submit;
    form.elements.name.closest(".field").hidden = mode === "login";
    form.elements.password.autocomplete = texts.password;
    this.#clear();
  }

  async #enter() {
    const { name, email, password } = form.elements;
    this.#clear();
    if (!email.value.trim()) return this.#blame("email", "Your e-mail address is needed.");
    if (!password.value) return this.#blame("password", "Your password is needed.");
    const account = { email: email.value.trim(), password: password.value };
    submit.disabled = true;
    try {
      if (this.#mode === "register") {
        await this.#api.register({ ...account, name: name.value.trim() || null });
      } else {
        await this.#api.login(account);
      }
    } catch (error) {
      return this.#explain(error);
    } finally {
      submit.disabled = false;
    }
    form.reset();
    return this.#onEnter(this.#api.user);
  }

  #explain(error) {
    const known = (error.errors ?? []).filter(({ pointer }) => form.elements[pointer.slice(1)]);
    for (const { pointer, detail } of known.reverse()) this.#blame(pointer.slice(1), detail);
    if (known.length === 0) {
      const wait = error.retryAfter ? ` Try again in ${error.retryAfter} seconds.` : "";
      fault.textContent = error.code === "too_many_attempts"
        ? `There were too many attempts.${wait}`
        : reasonOf(error);
      fault.hidden = false;
    }
  }

  #blame(name, text) {
    const input = form.elements[name];
    const where = document.getElementById(`gate-${name}-fault`);
    where.textContent = text;
    where.hidden = false;
    input.ariaInvalid = "true";
    input.setAttribute("aria-describedby", where.id);
    input.focus();
  }

  #clear() {
    for (const element of form.querySelectorAll(".fault")) element.hidden = true;
    for (const input of form.querySelectorAll("input")) {
      input.ariaInvalid = null;
      input.removeAttribute("aria-describedby");
    }
    if (this.#mode === "register") {
      form.elements.password.setAttribute("aria-describedby", "gate-password-hint");
    }
  }
}
