// Tokens that have expired, without waiting for it: signed like the service's own.

import { createHmac } from "node:crypto";

/** The same token, as it would have been made a day ago. */
export function expired(token) {
  const [head, payload] = token.split(".");
  const claims = JSON.parse(Buffer.from(payload, "base64url"));
  for (const name of ["iat", "nbf", "exp"]) {
    if (name in claims) claims[name] -= 86_400;
  }
  const signed = `${head}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
  const signature = createHmac("sha256", process.env.JWT_SECRET_KEY).update(signed);
  return `${signed}.${signature.digest("base64url")}`;
}

/** Lets time go by: sends the tokens that there were as they would be by then. */
export class Clock {
  #fresh;
  #late = 0;

  /** `late`: how many of the next answers to a refresh have been given as long ago. */
  expireTokens({ late = 0 } = {}) {
    this.#fresh = new Set();
    this.#late = late;
  }

  fetch = async (url, init) => {
    const refreshes = url.includes("/auth/refresh");
    const token = init.headers.get("Authorization")?.replace("Bearer ", "");
    if (token && !refreshes && this.#fresh && !this.#fresh.has(token)) {
      init.headers.set("Authorization", `Bearer ${expired(token)}`);
    }
    const response = await fetch(url, init);
    if (refreshes && response.ok && --this.#late < 0) {
      this.#fresh?.add((await response.clone().json()).access_token);
    }
    return response;
  };
}
