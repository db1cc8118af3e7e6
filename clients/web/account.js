// The account dialog: name, password and sessions.

import { announce, confirm, describeError, toast } from "./notices.js";

const dialog = document.getElementById("account");
const list = document.getElementById("sessions");
const template = document.getElementById("session-template");
const nameForm = document.getElementById("name-form");
const passwordForm = document.getElementById("password-form");
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class Account {
  #api;
  #onRename;

  constructor(api, { onLogOut, onRename }) {
    this.#api = api;
    this.#onRename = onRename;
    document.getElementById("account-button").addEventListener("click", () => this.open());
    dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.getElementById("log-out").addEventListener("click", () => onLogOut({ all: false }));
    document.getElementById("log-out-everywhere").addEventListener("click", async () => {
      const text = "All your devices will be logged out, including this one.";
      if (await confirm({ title: "Log out everywhere?", text, yes: "Log out everywhere" })) {
        onLogOut({ all: true });
      }
    });
    onSubmit(nameForm, () => this.#rename());
    onSubmit(passwordForm, () => this.#changePassword());
  }

  open() {
    const { email, name } = this.#api.user;
    document.getElementById("account-email").textContent = email;
    document.getElementById("password-user").value = email;
    nameForm.elements.name.value = name ?? "";
    passwordForm.reset();
    passwordForm.closest("details").open = false;
    for (const errorText of dialog.querySelectorAll(".error")) errorText.hidden = true;
    dialog.showModal();
    this.#showSessions();
  }

  close() {
    dialog.close();
    list.replaceChildren();
  }

  async #showSessions() {
    const errorText = document.getElementById("sessions-error");
    try {
      const sessions = await this.#api.sessions({ retries: 1 });
      list.replaceChildren(...sessions.map((session) => this.#item(session)));
    } catch (error) {
      errorText.textContent = describeError(error);
      errorText.hidden = false;
    }
  }

  #item({ id, device, created_at: created, last_used_at: lastUsed, current }) {
    const item = template.content.firstElementChild.cloneNode(true);
    const name = describeDevice(device);
    const button = item.querySelector("button");
    item.querySelector("strong").textContent = name;
    item.querySelector("p").textContent = current
      ? `This device · logged in ${time.format(new Date(created))}`
      : `Last used ${time.format(new Date(lastUsed ?? created))}`;
    item.title = device ?? "";
    button.ariaLabel = `Log out ${name}, logged in ${time.format(new Date(created))}`;
    if (current) button.remove();
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await this.#api.endSession(id);
        item.remove();
        document.getElementById("log-out").focus();
        announce(`${name} is logged out`);
      } catch (error) {
        button.disabled = false;
        toast(describeError(error));
      }
    });
    return item;
  }

  async #rename() {
    const user = await this.#api.changeMe({ name: nameForm.elements.name.value.trim() || null });
    this.#onRename(user);
    announce("Saved");
  }

  async #changePassword() {
    const [current, newPassword] = passwordForm.querySelectorAll("[type=password]");
    await this.#api.changePassword({
      current_password: current.value,
      new_password: newPassword.value,
    });
    passwordForm.reset();
    passwordForm.closest("details").open = false;
    dialog.close();
    toast("Your password has been changed. Your other devices are logged out.");
  }
}

/** Run `work` on submit, and show its error in the form. */
function onSubmit(form, work) {
  const errorText = form.querySelector(".error");
  const button = form.querySelector("button");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    errorText.hidden = true;
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      errorText.textContent = describeError(error);
      errorText.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
}

/** Describe a `User-Agent` by the common names of its browser and system. */
function describeDevice(device) {
  const first = (names) => names.find(([token]) => device?.includes(token))?.[1];
  const browser = first([
    ["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"],
    ["Safari/", "Safari"],
  ]);
  const system = first([
    ["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"],
    ["Mac OS", "macOS"], ["Linux", "Linux"],
  ]);
  if (browser && system) return `${browser} on ${system}`;
  return browser ?? system ?? (device ? device.split(/[/ ]/, 1)[0] : "Unknown device");
}
