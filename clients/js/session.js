// Who is signed in, and their tokens, which are in memory alone.

import { ProblemError } from "./errors.js";
import { newId } from "./ids.js";

/** A session of the service's own: a refresh token is exchanged once for the next pair. */
export class Session {
  user = null;
  #transport;
  #inCookie;
  #onEnd;
  #accessToken;
  #refreshToken;
  #refreshing;
  #refreshKey;

  constructor(transport, { inCookie, onEnd }) {
    this.#transport = transport;
    this.#inCookie = inCookie;
    this.#onEnd = onEnd;
  }

  /** Begin it by registering or logging in. */
  async open(path, data, options) {
    const body = JSON.stringify(data);
    const headers = { "Content-Type": "application/json" };
    const request = { path, headers, body, key: newId() };
    this.#adopt(await this.#inTurn(() => this.#ask(request, options)));
  }

  async token() {
    return this.#accessToken;
  }

  /** Get another token in the place of one that was refused with `problem`. */
  async renew(refused, problem) {
    // It is no use to exchange a token that was exchanged while the answer was on its way.
    if (this.#accessToken !== refused) return this.#accessToken;
    if (problem.code === "session_ended") {
      this.#onEnd(this, problem);
      throw problem;
    }
    await this.refresh();
    return this.#accessToken;
  }

  /** Exchange the refresh token; whoever asks meanwhile waits for the same exchange. */
  refresh() {
    this.#refreshing ??= this.#exchange().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #exchange() {
    // Kept until there is an answer, be it hours: a spent token is taken for a stolen one, but
    // with the same key the service gives the same answer.
    const key = (this.#refreshKey ??= newId());
    try {
      const pair = await this.#inTurn(() => {
        const headers = this.#inCookie ? {} : { Authorization: `Bearer ${this.#refreshToken}` };
        return this.#ask({ path: "/auth/refresh", headers, key });
      });
      // The cookie is the browser's: somebody else may have logged in in another tab.
      if (this.user && this.user.id !== pair.user.id) throw new ProblemError(SOMEBODY_ELSE);
      this.#adopt(pair);
    } catch (error) {
      if (error.status === 401 || error.status === 403) this.#onEnd(this, error);
      throw error;
    }
  }

  #adopt({ access_token, refresh_token, user }) {
    this.#refreshKey = undefined;
    this.#accessToken = access_token;
    this.#refreshToken = refresh_token;
    this.user = user;
  }

  async #ask({ path, headers, body, key }, options) {
    const request = {
      method: "POST",
      path,
      headers: { ...headers, "Idempotency-Key": key },
      body,
      ...(this.#inCookie && { query: { cookie: true }, credentials: "include" }),
      // The new cookie has to arrive, also where the page is left meanwhile.
      keepalive: this.#inCookie,
    };
    return (await this.#transport.send(request, options)).data;
  }

  /** One at a time for all tabs, which have one cookie: a token that comes twice ends it. */
  #inTurn(work) {
    const locks = this.#inCookie && globalThis.navigator?.locks;
    return locks ? locks.request(`taskapi session ${this.#transport.base}`, work) : work();
  }
}

const SOMEBODY_ELSE = {
  type: "about:blank",
  title: "Unauthorized",
  status: 401,
  detail: "Somebody else has signed in in this browser.",
  code: "user_changed",
};

/** A session at an issuer outside, whose tokens somebody else gets. */
export class OutsideSession {
  user = null;
  #token;

  constructor(token) {
    this.#token = token;
  }

  async token() {
    return typeof this.#token === "function" ? this.#token() : this.#token;
  }

  async renew(refused, problem) {
    const token = await this.token();
    if (token === refused) throw problem;
    return token;
  }
}
