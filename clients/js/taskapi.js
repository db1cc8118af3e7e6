// The client of taskapi, for browsers and Node. Its API is documented in taskapi.d.ts.

import { NetworkError, ProblemError } from "./errors.js";
import { followChanges } from "./changes.js";
import { newId } from "./ids.js";
import { condition, idOf, isGone, isOver, isWritten, json, mediaOf } from "./requests.js";
import { ExternalSession, Session } from "./session.js";
import { Transport } from "./transport.js";
import { abortable } from "./abort.js";

export { NetworkError, ProblemError, newId };

const MAX_PAGE_SIZE = 200;
// The first renewal may replay an earlier rotation, whose access token has expired since.
const MAX_TOKEN_RENEWALS = 2;

export class TaskApi extends EventTarget {
  #transport;
  #inCookie;
  #session;
  #restoring;

  constructor({ cookie = false, token, ...connection } = {}) {
    super();
    this.#transport = new Transport(connection);
    this.#inCookie = cookie;
    this.#session = token ? new ExternalSession(token) : null;
  }

  get user() {
    return this.#session?.user ?? null;
  }

  // Accounts and sessions

  register(account, options) {
    return this.#openSession("/auth/register", account, options);
  }

  login(credentials, options) {
    return this.#openSession("/auth/login", credentials, options);
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
      await this.#request("POST", "/auth/logout", { query: { all } }, options);
    } catch (error) {
      if (error.status !== 401 || !session) throw error;
    }
    this.#closeSession(session);
  }

  me(options) {
    return this.#updateUser(this.#request("GET", "/auth/me", {}, options));
  }

  changeMe(changes, options) {
    return this.#updateUser(this.#request("PATCH", "/auth/me", json(changes), options));
  }

  changePassword(passwords, options) {
    return this.#request("POST", "/auth/password", json(passwords), options);
  }

  async deleteMe(confirmation, options) {
    const session = this.#session;
    await this.#request("DELETE", "/auth/me", { ...json(confirmation), recover: isOver }, options);
    this.#closeSession(session);
  }

  async sessions(options) {
    return (await this.#request("GET", "/auth/sessions", {}, options)).sessions;
  }

  endSession(id, options) {
    return this.#request("DELETE", `/auth/sessions/${idOf(id)}`, { recover: isGone }, options);
  }

  // Tasks

  tasks(params, options) {
    return this.#paginate("/tasks", params, options);
  }

  listTasks(params, options) {
    return this.#request("GET", "/tasks", { query: params }, options);
  }

  getTask(task, options) {
    return this.#request("GET", `/tasks/${idOf(task)}`, {}, options);
  }

  async createTask(data, { id, ...options } = {}) {
    if (id === undefined) return this.#request("POST", "/tasks", json(data), options);
    const recover = (problem, mayBeDone) => isWritten(problem, data, mayBeDone);
    const request = { ...json(data, { "If-None-Match": "*" }), recover };
    return this.#request("PUT", `/tasks/${idOf(id)}`, request, options);
  }

  async replaceTask(task, data, options) {
    return this.#writeTask("PUT", task, { description: null, ...data }, options);
  }

  async updateTask(task, changes, options) {
    return this.#writeTask("PATCH", task, changes, options);
  }

  async completeTask(task, completed, options = {}) {
    const headers = condition(task, options);
    const request = completed === undefined ? { headers } : json({ completed }, headers);
    request.takesKey = true;
    return this.#request("PATCH", `/tasks/${idOf(task)}/complete`, request, options);
  }

  async moveTask(task, place, options = {}) {
    const request = json(place, condition(task, options));
    return this.#request("POST", `/tasks/${idOf(task)}/move`, request, options);
  }

  async deleteTask(task, options = {}) {
    const { permanent } = options;
    const request = { headers: condition(task, options), query: { permanent }, recover: isGone };
    return this.#request("DELETE", `/tasks/${idOf(task)}`, request, options);
  }

  async batch(operations, { atomic, ...options } = {}) {
    const request = json({ operations, atomic });
    return (await this.#request("POST", "/tasks/batch", request, options)).results;
  }

  // The trash

  trash(params, options) {
    return this.#paginate("/trash", params, options);
  }

  restoreTask(task, options) {
    return this.#request("POST", `/trash/${idOf(task)}/restore`, {}, options);
  }

  purgeTask(task, options) {
    return this.#request("DELETE", `/trash/${idOf(task)}`, { recover: isGone }, options);
  }

  emptyTrash(options) {
    return this.#request("DELETE", "/trash", {}, options);
  }

  // Export, import and the change feed

  changes(params = {}, options = {}) {
    const read = (query, more) => this.#send("GET", "/tasks/changes", { query }, more);
    return followChanges(read, params, options);
  }

  exportTasks({ format, ...options } = {}) {
    const request = { query: { format }, read: (response) => response.blob() };
    return this.#request("GET", "/tasks/export", request, options);
  }

  async importTasks(file, { type, dryRun, deduplicate, ...options } = {}) {
    const headers = { "Content-Type": mediaOf(file, type) };
    const request = { headers, body: file, query: { dry_run: dryRun, deduplicate } };
    return this.#request("POST", "/tasks/import", request, { timeout: 0, ...options });
  }

  // Shared helpers

  async #openSession(path, data, options) {
    const session = this.#newSession();
    await abortable(session.open(path, data, options), options?.signal);
    return this.#startSession(session);
  }

  async #restore() {
    const session = this.#newSession();
    try {
      await session.refresh();
    } catch (error) {
      if (error.status === 401) return null;
      throw error;
    }
    return this.#startSession(session);
  }

  #newSession() {
    const onEnd = (session, problem) => this.#closeSession(session, problem);
    return new Session(this.#transport, { inCookie: this.#inCookie, onEnd });
  }

  #startSession(session) {
    this.#session = session;
    this.dispatchEvent(new CustomEvent("signin", { detail: { user: session.user } }));
    return session.user;
  }

  /** Close the session and dispatch `signout` once, even if several requests were refused. */
  #closeSession(session, problem = null) {
    if (!session || this.#session !== session) return;
    this.#session = null;
    session.close();
    this.dispatchEvent(new CustomEvent("signout", { detail: { problem } }));
  }

  async #updateUser(response) {
    const session = this.#session;
    const user = await response;
    if (session) session.user = user;
    return user;
  }

  #writeTask(method, task, data, options = {}) {
    const recover = (problem, mayBeDone) => mayBeDone && isWritten(problem, data);
    const request = { ...json(data, condition(task, options)), recover };
    return this.#request(method, `/tasks/${idOf(task)}`, request, options);
  }

  async *#paginate(path, params, options) {
    let cursor;
    do {
      const query = { limit: MAX_PAGE_SIZE, ...params, cursor };
      const page = await this.#request("GET", path, { query }, options);
      yield* page.tasks;
      cursor = page.next_cursor;
    } while (cursor);
  }

  async #request(method, path, request, options) {
    return (await this.#send(method, path, request, options)).data;
  }

  async #send(method, path, request, options = {}) {
    const session = this.#session;
    const sent = { method, path, ...request };
    if (method === "POST" || request.takesKey) {
      // The key is set before the first attempt; all retries use the same one.
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
        if (error.status !== 401 || renewals === MAX_TOKEN_RENEWALS) throw error;
        token = await abortable(session.renew(token, error), options.signal);
      }
    }
  }
}
