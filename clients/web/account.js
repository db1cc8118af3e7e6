// The account: the name, the password, and the devices that are logged in.

import { announce, confirm, reasonOf, toast } from "./notices.js";

const dialog = document.getElementById("account");
const list = document.getElementById("sessions");
const template = document.getElementById("session-template");
const nameForm = document.getElementById("name-form");
const passwordForm = document.getElementById("password-form");
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class Account {
  #api;
  #onRename;

  constructor(api, { onSignOut, onRename }) {
    this.#api = api;
    this.#onRename = onRename;
    document.getElementById("account-button").addEventListener("click", () => this.open());
    dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.getElementById("sign-out").addEventListener("click", () => onSignOut({ all: false }));
    document.getElementById("sign-out-everywhere").addEventListener("click", async () => {
      const text = "Every device that is logged in will have to log in again, this one included.";
      if (await confirm({ title: "Sign out everywhere?", text, yes: "Sign out everywhere" })) {
        onSignOut({ all: true });
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
    for (const fault of dialog.querySelectorAll(".fault")) fault.hidden = true;
    dialog.showModal();
    this.#showSessions();
  }

  close() {
    dialog.close();
    list.replaceChildren();
  }

  async #showSessions() {
    const fault = document.getElementById("sessions-fault");
    try {
      const sessions = await this.#api.sessions({ retries: 1 });
      list.replaceChildren(...sessions.map((session) => this.#item(session)));
    } catch (error) {
      fault.textContent = reasonOf(error);
      fault.hidden = false;
    }
  }

  #item({ id, device, created_at: created, last_used_at: used, current }) {
    const item = template.content.firstElementChild.cloneNode(true);
    const name = nameOf(device);
    const button = item.querySelector("button");
    item.querySelector("strong").textContent = name;
    item.querySelector("p").textContent = current
      ? `This device · since ${time.format(new Date(created))}`
      : `Last used ${time.format(new Date(used ?? created))}`;
    item.title = device ?? "";
    button.ariaLabel = `Sign out ${name}, since ${time.format(new Date(created))}`;
    if (current) button.remove();
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await this.#api.endSession(id);
        item.remove();
        document.getElementById("sign-out").focus();
        announce(`${name} is signed out`);
      } catch (error) {
        button.disabled = false;
        toast(reasonOf(error));
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
    const [current, fresh] = passwordForm.querySelectorAll("[type=password]");
    await this.#api.changePassword({ current_password: current.value, new_password: fresh.value });
    passwordForm.reset();
    passwordForm.closest("details").open = false;
    dialog.close();
    toast("Your password is changed; your other devices are logged out.");
  }
}

/** Submit a form by `work`, and show below its fields what is wrong with it. */
function onSubmit(form, work) {
  const fault = form.querySelector(".fault");
  const button = form.querySelector("button");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fault.hidden = true;
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      fault.textContent = reasonOf(error);
      fault.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
}

/** A browser and a system, as its user would name them. */
function nameOf(device) {
  const first = (names) => names.find(([sign]) => device?.includes(sign))?.[1];
  const browser = first([
    ["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"],
    ["Safari/", "Safari"],
  ]);
  const system = first([
    ["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"],
    ["Mac OS", "macOS"], ["Linux", "Linux"],
  ]);
  if (browser && system) return `${browser} on ${system}`;
  return browser ?? system ?? (device ? device.split(/[/ ]/, 1)[0] : "An unknown device");
}
