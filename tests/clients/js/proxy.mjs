// A TCP proxy before the real service, which can lose what passes through it.

import net from "node:net";

const HEAD = /^([A-Z]+ \S+) HTTP\/1\.1\r\n/;

export class Proxy {
  /** Request line and Idempotency-Key of every request that came. */
  requests = [];
  #server;
  #target;
  #port;
  #sockets = new Set();
  #faults = [];

  constructor(url) {
    this.#target = new URL(url);
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  async open() {
    this.#server = net.createServer((client) => this.#serve(client));
    const { promise, resolve } = withResolvers();
    this.#server.listen(this.#port ?? 0, "127.0.0.1", resolve);
    await promise;
    this.#port = this.#server.address().port;
    return this;
  }

  /** Hang up on everybody and take nobody any more. */
  async close() {
    const { promise, resolve } = withResolvers();
    this.#server.close(resolve);
    for (const socket of this.#sockets) socket.destroy();
    await promise;
  }

  /** Hang up in the place of the next answers: the service has done the work by then. */
  loseAnswers(request, times = 1) {
    this.#expect(request, times, ({ client, upstream }) => {
      client.destroy();
      upstream.destroy();
    });
  }

  /** Pass on only so many bytes of the next answer. */
  cutAnswer(request, bytes) {
    this.#expect(request, 1, ({ client, upstream }, data) => {
      client.end(data.subarray(0, bytes));
      upstream.destroy();
    });
  }

  /** Give an answer of the proxy's own. */
  replaceAnswer(request, text, times = 1) {
    this.#expect(request, times, ({ client, upstream }) => {
      client.end(text);
      upstream.destroy();
    });
  }

  /** Lose nothing any more. */
  heal() {
    this.#faults = [];
  }

  /** Keep the next answer back until it is released; `held` comes true when it is here. */
  holdAnswer(request) {
    const { promise: held, resolve: hold } = withResolvers();
    const { promise: released, resolve: release } = withResolvers();
    this.#expect(request, 1, ({ client }, data) => {
      hold();
      released.then(() => client.write(data));
    });
    return { held, release };
  }

  #expect(request, times, fault) {
    this.#faults.push({ request, times, fault });
  }

  #serve(client) {
    const upstream = net.connect(this.#target.port, this.#target.hostname);
    let fault;
    client.on("data", (data) => {
      const head = data.toString("latin1");
      const line = HEAD.exec(head)?.[1];
      if (line) {
        this.requests.push({ line, key: /^idempotency-key: (.*)\r$/im.exec(head)?.[1] });
        const expected = this.#faults.find((one) => one.times > 0 && one.request.test(line));
        if (expected) expected.times -= 1;
        fault = expected?.fault;
      }
      upstream.write(data);
    });
    upstream.on("data", (data) => {
      if (fault) fault({ client, upstream }, data);
      else client.write(data);
    });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ]) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }
}

function withResolvers() {
  let resolve;
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}
