// The session of the user, with its tokens, which are kept only in memory.

import { ProblemError } from "./errors.js";
import { newId } from "./ids.js";

/** A session of the service, which rotates its refresh token. */
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
      ? new SharedPendingKey(`taskapi refresh ${transport.base}`)
      : new PendingKey();
  }

  /** Open the session by registering or logging in. */
  async open(path, data, options) {
    const headers = { "Content-Type": "application/json" };
    const request = { path, headers, body: JSON.stringify(data) };
    this.#setTokens(await this.#withLock(() => this.#send(request, newId(), options)));
  }

  async token() {
    return this.#accessToken;
  }

  /** Return a new access token after `refused` was rejected with `problem`. */
  async renew(refused, problem) {
    // Another request may have renewed the token in the meantime.
    if (this.#accessToken !== refused) return this.#accessToken;
    if (problem.code === "session_ended") {
      this.#onEnd(this, problem);
      throw problem;
    }
    await this.refresh();
    return this.#accessToken;
  }

  /** Rotate the refresh token; concurrent calls share one rotation. */
  refresh() {
    this.#refreshing ??= this.#exchange().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #exchange() {
    try {
      const pair = await this.#withLock(() => this.#requestPair());
      // All tabs share the cookie, so another user may have logged in in another tab.
      if (this.user && this.user.id !== pair.user.id) throw new ProblemError(USER_CHANGED_PROBLEM);
      this.#setTokens(pair);
    } catch (error) {
      if (error.status === 401 || error.status === 403) {
        this.close();
        this.#onEnd(this, error);
      }
      throw error;
    }
  }

  /** Remove the pending idempotency key: the session has no further rotation. */
  close() {
    this.#pendingKey.clear();
  }

  /**
   * Reuse of a rotated token ends the session, unless it has the same idempotency key: then it gets
   * the same pair. The key is therefore kept until the pair arrives, even after hours offline, and
   * up to 10 s longer, because a late response to a closed page may restore the previous cookie.
   */
  async #requestPair() {
    const headers = this.#inCookie ? {} : { Authorization: `Bearer ${this.#refreshToken}` };
    try {
      const pair = await this.#send({ path: "/auth/refresh", headers }, this.#pendingKey.get());
      this.#pendingKey.retainFor(Math.min(MAX_KEY_RETENTION_MS, (pair.expires_in * 1000) / 2));
      if (pair.access_token !== this.#accessToken) return pair;
      // The replayed access token has already been rejected.
      this.#pendingKey.clear();
      return this.#requestPair();
    } catch (error) {
      if (!STALE_KEY_CODES.has(error.code)) throw error;
      // The cookie is newer than the key: another page or a login has set it.
      this.#pendingKey.clear();
      return this.#requestPair();
    }
  }

  async #send({ path, headers, body }, key, options) {
    const request = {
      method: "POST",
      path,
      headers: { ...headers, "Idempotency-Key": key },
      body,
      ...(this.#inCookie && { query: { cookie: true }, credentials: "include" }),
      // The new cookie must arrive even if the page is closed in the meantime.
      keepalive: this.#inCookie,
    };
    return (await this.#transport.send(request, options)).data;
  }

  /** Run `work` under a lock of all tabs, which share the cookie and would reuse its token. */
  #withLock(work) {
    const locks = this.#inCookie && globalThis.navigator?.locks;
    if (!locks) return work();
    return locks.request(`taskapi session ${this.#transport.base}`, work).catch((error) => {
      if (error.name !== "SecurityError") throw error;
      return work(); // A browser that denies storage denies locks too.
    });
  }

  #setTokens({ access_token, refresh_token, user }) {
    this.#accessToken = access_token;
    this.#refreshToken = refresh_token;
    this.user = user;
  }
}

/** The idempotency key of a rotation whose response is pending. */
class PendingKey {
  #key;

  get() {
    return (this.#key ??= newId());
  }

  /** Clear the key after the response: no other page can repeat this rotation. */
  retainFor() {
    this.clear();
  }

  clear() {
    this.#key = undefined;
  }
}

/** The pending key of a cookie session, stored so that the next page can repeat the rotation. */
class SharedPendingKey extends PendingKey {
  #name;

  constructor(name) {
    super();
    this.#name = name;
  }

  get() {
    const { key = super.get(), until } = this.#load();
    // The upper bound limits the retention after the clock was set back.
    const remaining = until - Date.now();
    if (remaining < 0 || remaining > MAX_KEY_RETENTION_MS) {
      this.clear();
      return this.get();
    }
    this.#store({ key, until });
    return key;
  }

  /** Keep the key for `milliseconds` after the response, because an older one may arrive late. */
  retainFor(milliseconds) {
    const { key, until = Date.now() + milliseconds } = this.#load();
    super.clear();
    if (key) this.#store({ key, until });
  }

  clear() {
    super.clear();
    this.#store(null);
  }

  #load() {
    try {
      return JSON.parse(localStorage.getItem(this.#name)) ?? {};
    } catch {
      return {}; // The browser may deny storage.
    }
  }

  #store(value) {
    try {
      if (value) localStorage.setItem(this.#name, JSON.stringify(value));
      else localStorage.removeItem(this.#name);
    } catch {
      // Without storage, only this page knows the key.
    }
  }
}

const MAX_KEY_RETENTION_MS = 10_000;

const STALE_KEY_CODES = new Set(["idempotency_key_reused", "refresh_token_superseded"]);

const USER_CHANGED_PROBLEM = {
  type: "about:blank",
  title: "Unauthorized",
  status: 401,
  detail: "Another user has signed in in this browser.",
  code: "user_changed",
  request_id: null,
};

/** A session of an external issuer; the application supplies its access tokens. */
export class ExternalSession {
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
