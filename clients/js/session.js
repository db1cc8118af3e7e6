// Who is signed in, and their tokens, which are in memory alone.

import { ProblemError } from "./errors.js";
import { newId } from "./ids.js";

/** A session of the service's own: a refresh token is exchanged once for the next pair. */
export class Session {
  user = null;
  #transport;
  #inCookie;
  #onEnd;
  #pendingKey;
  #accessToken;
  #refreshToken;
  #refreshing;

  constructor(transport, { inCookie, onEnd }) {
    this.#transport = transport;
    this.#inCookie = inCookie;
    this.#onEnd = onEnd;
    this.#pendingKey = inCookie
      ? new SharedKey(`taskapi refresh ${transport.base}`)
      : new PendingKey();
  }

  /** Begin it by registering or logging in. */
  async open(path, data, options) {
    const headers = { "Content-Type": "application/json" };
    const request = { path, headers, body: JSON.stringify(data) };
    this.#adopt(await this.#inTurn(() => this.#ask(request, newId(), options)));
  }

  async token() {
    return this.#accessToken;
  }

  /** Get another token in the place of one that was refused with `problem`. */
  async renew(refused, problem) {
    // While the refusal was on its way, another request may have seen to it.
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
    try {
      const pair = await this.#inTurn(() => this.#askForPair());
      // The cookie is the browser's: somebody else may have logged in in another tab.
      if (this.user && this.user.id !== pair.user.id) throw new ProblemError(SOMEBODY_ELSE);
      this.#adopt(pair);
    } catch (error) {
      if (error.status === 401 || error.status === 403) this.#onEnd(this, error);
      throw error;
    }
  }

  /**
   * A spent token that comes again is taken for a stolen one, but with the same key it gets the
   * same pair. So the key is kept until the pair is here, be it after hours offline.
   */
  async #askForPair() {
    const headers = this.#inCookie ? {} : { Authorization: `Bearer ${this.#refreshToken}` };
    try {
      const pair = await this.#ask({ path: "/auth/refresh", headers }, this.#pendingKey.get());
      this.#pendingKey.forget();
      return pair;
    } catch (error) {
      if (error.code !== "idempotency_key_reused") throw error;
      // The cookie had come, but its page was left before it could forget the key.
      this.#pendingKey.forget();
      return this.#askForPair();
    }
  }

  async #ask({ path, headers, body }, key, options) {
    const request = {
      method: "POST",
      path,
      headers: { ...headers, "Idempotency-Key": key },
      body,
      ...(this.#inCookie && { query: { cookie: true }, credentials: "include" }),
      // The new cookie is to arrive, also where the page is left meanwhile.
      keepalive: this.#inCookie,
    };
    return (await this.#transport.send(request, options)).data;
  }

  /** One at a time for all tabs, which share one cookie and would spend its token twice. */
  #inTurn(work) {
    const locks = this.#inCookie && globalThis.navigator?.locks;
    return locks ? locks.request(`taskapi session ${this.#transport.base}`, work) : work();
  }

  #adopt({ access_token, refresh_token, user }) {
    this.#accessToken = access_token;
    this.#refreshToken = refresh_token;
    this.user = user;
  }
}

/** The key of an exchange whose answer has not come yet. */
class PendingKey {
  #key;

  get() {
    return (this.#key ??= newId());
  }

  forget() {
    this.#key = undefined;
  }
}

/** The same for a cookie: whichever page comes next has to repeat what was begun. */
class SharedKey extends PendingKey {
  #name;

  constructor(name) {
    super();
    this.#name = name;
  }

  get() {
    try {
      const key = localStorage.getItem(this.#name) ?? super.get();
      localStorage.setItem(this.#name, key);
      return key;
    } catch {
      return super.get(); // A browser may be told to store nothing.
    }
  }

  forget() {
    super.forget();
    try {
      localStorage.removeItem(this.#name);
    } catch {
      // There is nothing to forget then.
    }
  }
}

const SOMEBODY_ELSE = {
  type: "about:blank",
  title: "Unauthorized",
  status: 401,
  detail: "Somebody else has signed in in this browser.",
  code: "user_changed",
  request_id: null,
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
