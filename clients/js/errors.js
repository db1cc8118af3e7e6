// What can go wrong: the service says no, or says nothing.

/** The service refused, with a problem document (RFC 9457). */
export class ProblemError extends Error {
  name = "ProblemError";

  constructor(problem, { retryAfter = null } = {}) {
    super(problem.detail);
    this.problem = problem;
    this.retryAfter = retryAfter;
  }

  get status() {
    return this.problem.status;
  }

  /** For programs; it never changes. */
  get code() {
    return this.problem.code;
  }

  /** A sentence for a person. */
  get detail() {
    return this.problem.detail;
  }

  /** What is wrong with which field: `[{pointer, code, detail}]`. */
  get errors() {
    return this.problem.errors ?? [];
  }

  /** Finds the request in the service's logs. */
  get requestId() {
    return this.problem.request_id;
  }

  /** With 412: the task as it is now. */
  get current() {
    return this.problem.current;
  }
}

/** No answer came, or half of one: the service is away, or this device is offline. */
export class NetworkError extends Error {
  name = "NetworkError";

  constructor(cause) {
    super("The service cannot be reached.", { cause });
  }
}
