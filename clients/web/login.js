// The form for logging in and registering.

import { describeError } from "./notices.js";

const form = document.getElementById("login-form");
const message = document.getElementById("login-message");
const errorText = document.getElementById("login-error");
const submit = form.querySelector("[type=submit]");
const TEXTS = {
  login: {
    title: "Welcome back",
    submit: "Log in",
    question: "New here?",
    switchLabel: "Create an account",
    password: "current-password",
  },
  register: {
    title: "Create an account",
    submit: "Create account",
    question: "Already have an account?",
    switchLabel: "Log in",
    password: "new-password",
  },
};

export class LoginForm {
  #api;
  #onLogIn;
  #mode = "login";

  /** Call `onLogIn(user)` after a login or a registration. */
  constructor(api, onLogIn) {
    this.#api = api;
    this.#onLogIn = onLogIn;
    document.getElementById("login-switch").addEventListener("click", () => {
      this.#show(this.#mode === "login" ? "register" : "login");
      form.elements[this.#mode === "login" ? "email" : "name"].focus();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
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
    document.getElementById("login-title").textContent = texts.title;
    document.getElementById("login-question").textContent = texts.question;
    document.getElementById("login-switch").textContent = texts.switchLabel;
    document.getElementById("login-password-hint").hidden = mode === "login";
    submit.textContent = texts.submit;
    form.elements.name.closest(".field").hidden = mode === "login";
    form.elements.password.autocomplete = texts.password;
    this.#clear();
  }

  async #submit() {
    const { name, email, password } = form.elements;
    this.#clear();
    if (!email.value.trim()) return this.#showFieldError("email", "Enter your e-mail address.");
    if (!password.value) return this.#showFieldError("password", "Enter your password.");
    const account = { email: email.value.trim(), password: password.value };
    submit.disabled = true;
    try {
      if (this.#mode === "register") {
        await this.#api.register({ ...account, name: name.value.trim() || null });
      } else {
        await this.#api.login(account);
      }
    } catch (error) {
      return this.#showError(error);
    } finally {
      submit.disabled = false;
    }
    form.reset();
    return this.#onLogIn(this.#api.user);
  }

  #showError(error) {
    const fieldErrors = (error.errors ?? []).filter(({ pointer }) => form.elements[pointer.slice(1)]);
    for (const { pointer, detail } of fieldErrors.reverse()) this.#showFieldError(pointer.slice(1), detail);
    if (fieldErrors.length === 0) {
      const wait = error.retryAfter ? ` Try again in ${error.retryAfter} seconds.` : "";
      errorText.textContent = error.code === "too_many_attempts"
        ? `Too many attempts.${wait}`
        : describeError(error);
      errorText.hidden = false;
    }
  }

  #showFieldError(name, text) {
    const input = form.elements[name];
    const element = document.getElementById(`login-${name}-error`);
    element.textContent = text;
    element.hidden = false;
    input.ariaInvalid = "true";
    input.setAttribute("aria-describedby", element.id);
    input.focus();
  }

  #clear() {
    for (const element of form.querySelectorAll(".error")) element.hidden = true;
    for (const input of form.querySelectorAll("input")) {
      input.ariaInvalid = null;
      input.removeAttribute("aria-describedby");
    }
    if (this.#mode === "register") {
      form.elements.password.setAttribute("aria-describedby", "login-password-hint");
    }
  }
}
