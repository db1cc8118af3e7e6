// The client of taskapi, for browsers and Node. What it promises is in taskapi.d.ts.

import { NetworkError, ProblemError } from "./errors.js";
import { followChanges } from "./changes.js";
import { newId } from "./ids.js";
import { condition, idOf, isGone, isOver, isWritten, json, mediaOf } from "./requests.js";
import { OutsideSession, Session } from "./session.js";
import { Transport } from "./transport.js";
import { abortable } from "./waiting.js";

export { NetworkError, ProblemError, newId };

const LARGEST_PAGE = 200;
// The first may bring the answer to an exchange of long ago, whose token has expired since.
const MOST_RENEWALS = 2;

export class TaskApi extends EventTarget {
  #transport;
  #inCookie;
  #session;
  #restoring;

  constructor({ cookie = false, token, ...connection } = {}) {
    super();
    this.#transport = new Transport(connection);
    this.#inCookie = cookie;
    this.#session = token ? new OutsideSession(token) : null;
  }

  get user() {
    return this.#session?.user ?? null;
  }

  // Accounts and sessions

  register(account, options) {
    return this.#open("/auth/register", account, options);
  }

  login(credentials, options) {
    return this.#open("/auth/login", credentials, options);
  }

  async restore({ signal } = {}) {
    if (this.#session || !this.#inCookie) return this.user;
    this.#restoring ??= this.#restore().finally(() => {
      this.#restoring = undefined;
    });
    return abortable(this.#restoring, signal);
  }

  async logout({ all, ...options } = {}) {
    const session = this.#session;
    try {
      await this.#ask("POST", "/auth/logout", { query: { all } }, options);
    } catch (error) {
      if (error.status !== 401 || !session) throw error;
    }
    this.#end(session);
  }

  me(options) {
    return this.#keepUser(this.#ask("GET", "/auth/me", {}, options));
  }

  changeMe(changes, options) {
    return this.#keepUser(this.#ask("PATCH", "/auth/me", json(changes), options));
  }

  changePassword(passwords, options) {
    return this.#ask("POST", "/auth/password", json(passwords), options);
  }

  async deleteMe(confirmation, options) {
    const session = this.#session;
    await this.#ask("DELETE", "/auth/me", { ...json(confirmation), done: isOver }, options);
    this.#end(session);
  }

  async sessions(options) {
    return (await this.#ask("GET", "/auth/sessions", {}, options)).sessions;
  }

  endSession(id, options) {
    return this.#ask("DELETE", `/auth/sessions/${idOf(id)}`, { done: isGone }, options);
  }

  // Tasks

  tasks(params, options) {
    return this.#pages("/tasks", params, options);
  }

  listTasks(params, options) {
    return this.#ask("GET", "/tasks", { query: params }, options);
  }

  getTask(task, options) {
    return this.#ask("GET", `/tasks/${idOf(task)}`, {}, options);
  }

  async createTask(data, { id, ...options } = {}) {
    if (id === undefined) return this.#ask("POST", "/tasks", json(data), options);
    const done = (problem, mayBeDone) => isWritten(problem, data, mayBeDone);
    const request = { ...json(data, { "If-None-Match": "*" }), done };
    return this.#ask("PUT", `/tasks/${idOf(id)}`, request, options);
  }

  async replaceTask(task, data, options) {
    return this.#write("PUT", task, { description: null, ...data }, options);
  }

  async updateTask(task, changes, options) {
    return this.#write("PATCH", task, changes, options);
  }

  async completeTask(task, completed, options = {}) {
    const headers = condition(task, options);
    const request = completed === undefined ? { headers } : json({ completed }, headers);
    request.takesKey = true;
    return this.#ask("PATCH", `/tasks/${idOf(task)}/complete`, request, options);
  }

  async moveTask(task, place, options = {}) {
    const request = json(place, condition(task, options));
    return this.#ask("POST", `/tasks/${idOf(task)}/move`, request, options);
  }

  async deleteTask(task, options = {}) {
    const { permanent } = options;
    const request = { headers: condition(task, options), query: { permanent }, done: isGone };
    return this.#ask("DELETE", `/tasks/${idOf(task)}`, request, options);
  }

  async batch(operations, { atomic, ...options } = {}) {
    const request = json({ operations, atomic });
    return (await this.#ask("POST", "/tasks/batch", request, options)).results;
  }

  // The trash

  trash(params, options) {
    return this.#pages("/trash", params, options);
  }

  restoreTask(task, options) {
    return this.#ask("POST", `/trash/${idOf(task)}/restore`, {}, options);
  }

  purgeTask(task, options) {
    return this.#ask("DELETE", `/trash/${idOf(task)}`, { done: isGone }, options);
  }

  emptyTrash(options) {
    return this.#ask("DELETE", "/trash", {}, options);
  }

  // Everything at once, and what has changed

  changes(params = {}, options = {}) {
    const read = (query, more) => this.#answer("GET", "/tasks/changes", { query }, more);
    return followChanges(read, params, options);
  }

  exportTasks({ format, ...options } = {}) {
    const request = { query: { format }, read: (response) => response.blob() };
    return this.#ask("GET", "/tasks/export", request, options);
  }

  async importTasks(file, { type, dryRun, deduplicate, ...options } = {}) {
    const headers = { "Content-Type": mediaOf(file, type) };
    const request = { headers, body: file, query: { dry_run: dryRun, deduplicate } };
    return this.#ask("POST", "/tasks/import", request, { timeout: 0, ...options });
  }

  // What they have in common

  async #open(path, data, options) {
    const session = this.#newSession();
    await abortable(session.open(path, data, options), options?.signal);
    return this.#begin(session);
  }

  async #restore() {
    const session = this.#newSession();
    try {
      await session.refresh();
    } catch (error) {
      if (error.status === 401) return null;
      throw error;
    }
    return this.#begin(session);
  }

  #newSession() {
    const onEnd = (session, problem) => this.#end(session, problem);
    return new Session(this.#transport, { inCookie: this.#inCookie, onEnd });
  }

  #begin(session) {
    this.#session = session;
    this.dispatchEvent(new CustomEvent("signin", { detail: { user: session.user } }));
    return session.user;
  }

  /** Once for each session, however many of its requests are refused. */
  #end(session, problem = null) {
    if (!session || this.#session !== session) return;
    this.#session = null;
    session.close();
    this.dispatchEvent(new CustomEvent("signout", { detail: { problem } }));
  }

  async #keepUser(answer) {
    const session = this.#session;
    const user = await answer;
    if (session) session.user = user;
    return user;
  }

  #write(method, task, data, options = {}) {
    const done = (problem, mayBeDone) => mayBeDone && isWritten(problem, data);
    const request = { ...json(data, condition(task, options)), done };
    return this.#ask(method, `/tasks/${idOf(task)}`, request, options);
  }

  async *#pages(path, params, options) {
    let cursor;
    do {
      const query = { limit: LARGEST_PAGE, ...params, cursor };
      const page = await this.#ask("GET", path, { query }, options);
      yield* page.tasks;
      cursor = page.next_cursor;
    } while (cursor);
  }

  async #ask(method, path, request, options) {
    return (await this.#answer(method, path, request, options)).data;
  }

  async #answer(method, path, request, options = {}) {
    const session = this.#session;
    const sent = { method, path, ...request };
    if (method === "POST" || request.takesKey) {
      // Named before the first try; whatever is sent again has the same name.
      const key = options.idempotencyKey ?? newId();
      sent.headers = { ...sent.headers, "Idempotency-Key": key };
    }
    if (this.#inCookie && path.startsWith("/auth/")) sent.credentials = "include";
    if (!session) return this.#transport.send(sent, options);
    const send = (token) => {
      sent.headers = { ...sent.headers, Authorization: `Bearer ${token}` };
      return this.#transport.send(sent, options);
    };
    let token = await abortable(session.token(), options.signal);
    for (let renewals = 0; ; renewals += 1) {
      try {
        return await send(token);
      } catch (error) {
        if (error.status !== 401 || renewals === MOST_RENEWALS) throw error;
        token = await abortable(session.renew(token, error), options.signal);
      }
    }
  }
}
