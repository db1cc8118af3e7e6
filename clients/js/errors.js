// The errors of the client: a problem document, or no response.

/** A response with a problem document (RFC 9457). */
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

  /** A stable code for programs. */
  get code() {
    return this.problem.code;
  }

  /** A sentence for the user. */
  get detail() {
    return this.problem.detail;
  }

  /** The errors of single fields: `[{pointer, code, detail}]`. */
  get errors() {
    return this.problem.errors ?? [];
  }

  /** The id of the request in the service's logs. */
  get requestId() {
    return this.problem.request_id;
  }

  /** The current task, with status 412. */
  get current() {
    return this.problem.current;
  }
}

/** No complete response: the service is unreachable, or the device is offline. */
export class NetworkError extends Error {
  name = "NetworkError";

  constructor(cause) {
    super("The service cannot be reached.", { cause });
  }
}
