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
      if (error.status === 401 || error.status === 403) {
        this.close();
        this.#onEnd(this, error);
      }
      throw error;
    }
  }

  /** Leave nothing behind: there is nothing more to exchange. */
  close() {
    this.#pendingKey.forget();
  }

  /**
   * A spent token that comes again is taken for a stolen one, but with the same key it gets the
   * same pair. So the key is kept until the pair is here, be it after hours offline, and shortly
   * beyond: an answer to a page that was left may come late and bring back the cookie before.
   */
  async #askForPair() {
    const headers = this.#inCookie ? {} : { Authorization: `Bearer ${this.#refreshToken}` };
    try {
      const pair = await this.#ask({ path: "/auth/refresh", headers }, this.#pendingKey.get());
      this.#pendingKey.keepFor(Math.min(LATEST_ANSWER, (pair.expires_in * 1000) / 2));
      if (pair.access_token !== this.#accessToken) return pair;
      // That one has been refused already.
      this.#pendingKey.forget();
      return this.#askForPair();
    } catch (error) {
      if (!KEY_IS_OF_THE_PAST.has(error.code)) throw error;
      // The cookie has come since, from another page or by logging in.
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
    if (!locks) return work();
    return locks.request(`taskapi session ${this.#transport.base}`, work).catch((error) => {
      if (error.name !== "SecurityError") throw error;
      return work(); // A browser that may store nothing has no locks either.
    });
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

  /** The answer has come: nobody else can be waiting for another. */
  keepFor() {
    this.forget();
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
    const { key = super.get(), until } = this.#stored();
    // A clock that was set back does not keep a key for longer.
    const left = until - Date.now();
    if (left < 0 || left > LATEST_ANSWER) {
      this.forget();
      return this.get();
    }
    this.#store({ key, until });
    return key;
  }

  /** The answer has come, but for so many milliseconds others may be on their way. */
  keepFor(milliseconds) {
    const { key, until = Date.now() + milliseconds } = this.#stored();
    super.forget();
    if (key) this.#store({ key, until });
  }

  forget() {
    super.forget();
    this.#store(null);
  }

  #stored() {
    try {
      return JSON.parse(localStorage.getItem(this.#name)) ?? {};
    } catch {
      return {}; // A browser may be told to store nothing.
    }
  }

  #store(value) {
    try {
      if (value) localStorage.setItem(this.#name, JSON.stringify(value));
      else localStorage.removeItem(this.#name);
    } catch {
      // Then the key is good for this page alone.
    }
  }
}

const LATEST_ANSWER = 10_000;

const KEY_IS_OF_THE_PAST = new Set(["idempotency_key_reused", "refresh_token_superseded"]);

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

  close() {}
}
