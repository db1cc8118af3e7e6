// What the client promises. The shapes of what travels are generated from the service's
// OpenAPI document.

import type { components, paths } from "./openapi.js";

type Schemas = components["schemas"];
/** What a client writes: the members that only the service writes have no type. */
type Sent<Input> = {
  [Name in keyof Input as unknown extends Input[Name] ? never : Name]: Input[Name];
};
/** Times may be given as a `Date`. */
type WithDates<Params> = {
  [Name in keyof Params]: Name extends `${string}_after` | `${string}_before`
    ? Params[Name] | Date
    : Params[Name];
};

export type Task = Schemas["Task"];
export type TrashedTask = Schemas["TrashedTask"];
export type User = Omit<Schemas["User"], "created_at"> & { created_at: string | null };
export type Session = Schemas["OpenSession"];
export type NewTask = Sent<Schemas["TaskInput"]>;
export type TaskChanges = Sent<Schemas["TaskPatch"]>;
export type Place = { after: string | null } | { before: string };
export type Operation = Schemas["Batch"]["operations"][number];
export type Result = { status: number; task?: Task; problem?: Problem };
export type TaskList = Schemas["TaskList"];
export type ListParams = WithDates<NonNullable<paths["/tasks"]["get"]["parameters"]["query"]>>;
export type PageParams = Omit<ListParams, "cursor" | "include">;
export type ImportReport = Schemas["ImportReport"];
export type FieldError = NonNullable<Schemas["Problem"]["errors"]>[number];
/** A problem document (RFC 9457); with 412 it has the task as it is now. */
export type Problem = Omit<Schemas["Problem"], "request_id"> & {
  request_id: string | null;
  current?: Task;
  index?: number;
};

export type Change =
  | { op: "upsert"; task: Task }
  | { op: "delete"; id: string; deleted_at: string };

export interface ChangesPage {
  /** In the order in which they were made. */
  changes: Change[];
  /** Keep it together with what you made of the changes, and pass it as `since` later. */
  next: string;
  /** Whether more is there already. */
  has_more: boolean;
  /** Throw your copy away first: with this page a new one begins. */
  reset: boolean;
}

export interface ConnectionOptions {
  /** Where the service is. Left out, it is where the page comes from. */
  baseUrl?: string | URL;
  /** In the place of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** How often a request is sent again, where that is safe; 3 if you say nothing. */
  retries?: number;
  /** Milliseconds for each try; 30,000 if you say nothing, 0 for as long as it takes. */
  timeout?: number;
}

export type TaskApiOptions = ConnectionOptions &
  (
    | {
        /** Keep the refresh token in a cookie that no script can read. */
        cookie?: boolean;
        token?: undefined;
      }
    | {
        /** An access token of an issuer outside, or what gets one, again when it has expired. */
        token: string | (() => string | Promise<string>);
        cookie?: false;
      }
  );

export interface RequestOptions {
  /** Gives up, also while waiting to try again. */
  signal?: AbortSignal;
  timeout?: number;
  retries?: number;
}

export interface KeyedOptions extends RequestOptions {
  /** A name for this request, if you keep it over a restart; otherwise one is made. */
  idempotencyKey?: string;
}

export interface WriteOptions extends RequestOptions {
  /** Only if the task still has this ETag, or with `true` the version of the task passed in. */
  ifMatch?: string | boolean;
}

export interface TaskApiEvents {
  signin: CustomEvent<{ user: User }>;
  /** The session is over; by a problem, if it was not ended here. */
  signout: CustomEvent<{ problem: ProblemError | null }>;
}

export class TaskApi extends EventTarget {
  constructor(options?: TaskApiOptions);

  /** Who is signed in. */
  readonly user: User | null;

  addEventListener<Name extends keyof TaskApiEvents>(
    type: Name,
    listener: (event: TaskApiEvents[Name]) => void,
    options?: Parameters<EventTarget["addEventListener"]>[2],
  ): void;
  addEventListener(
    type: string,
    listener: Parameters<EventTarget["addEventListener"]>[1],
    options?: Parameters<EventTarget["addEventListener"]>[2],
  ): void;
  removeEventListener<Name extends keyof TaskApiEvents>(
    type: Name,
    listener: (event: TaskApiEvents[Name]) => void,
    options?: Parameters<EventTarget["removeEventListener"]>[2],
  ): void;
  removeEventListener(
    type: string,
    listener: Parameters<EventTarget["addEventListener"]>[1],
    options?: Parameters<EventTarget["removeEventListener"]>[2],
  ): void;

  register(
    account: { email: string; password: string; name?: string | null },
    options?: RequestOptions,
  ): Promise<User>;
  login(credentials: Schemas["Credentials"], options?: RequestOptions): Promise<User>;
  /** After the page was loaded: sign in by the cookie; null where there is no session in it. */
  restore(options?: Pick<RequestOptions, "signal">): Promise<User | null>;
  /** Fails where the service cannot be reached, and then you are still signed in. */
  logout(options?: RequestOptions & { all?: boolean }): Promise<void>;
  me(options?: RequestOptions): Promise<User>;
  changeMe(
    changes: { name?: string | null; email?: string; password?: string },
    options?: RequestOptions,
  ): Promise<User>;
  changePassword(passwords: Schemas["PasswordChange"], options?: RequestOptions): Promise<void>;
  deleteMe(confirmation: Schemas["Confirmation"], options?: RequestOptions): Promise<void>;
  sessions(options?: RequestOptions): Promise<Session[]>;
  endSession(id: string, options?: RequestOptions): Promise<void>;

  /** All tasks, page after page as they are needed; `limit` is the length of a page. */
  tasks(params?: PageParams, options?: RequestOptions): AsyncGenerator<Task, void, undefined>;
  /** One page. */
  listTasks(params?: ListParams, options?: RequestOptions): Promise<TaskList>;
  getTask(task: Task | string, options?: RequestOptions): Promise<Task>;
  /** With an `id` of your own (`newId()`), creating it again is no error. */
  createTask(
    data: NewTask,
    options?: (KeyedOptions & { id?: undefined }) | (RequestOptions & { id: string }),
  ): Promise<Task>;
  /** Title and description; `completed` and `order` stay unless they are given. */
  replaceTask(task: Task | string, data: NewTask, options?: WriteOptions): Promise<Task>;
  /** What is absent stays, null clears. */
  updateTask(task: Task | string, changes: TaskChanges, options?: WriteOptions): Promise<Task>;
  /** Without `completed` it flips. */
  completeTask(
    task: Task | string,
    completed?: boolean,
    options?: WriteOptions & KeyedOptions,
  ): Promise<Task>;
  moveTask(
    task: Task | string,
    place: Place,
    options?: WriteOptions & KeyedOptions,
  ): Promise<Schemas["MovedTask"]>;
  deleteTask(task: Task | string, options?: WriteOptions & { permanent?: boolean }): Promise<void>;
  /** Up to 100 operations, answered one by one; with `atomic` all of them are done or none. */
  batch(operations: Operation[], options?: KeyedOptions & { atomic?: boolean }): Promise<Result[]>;

  trash(
    params?: { limit?: number },
    options?: RequestOptions,
  ): AsyncGenerator<TrashedTask, void, undefined>;
  restoreTask(task: Task | string, options?: KeyedOptions): Promise<Task>;
  purgeTask(task: Task | string, options?: RequestOptions): Promise<void>;
  emptyTrash(options?: RequestOptions): Promise<void>;

  /**
   * What has changed since your copy was made. With `wait`, in seconds up to 25, it goes on for
   * ever, also through outages, until it is left or aborted.
   */
  changes(
    params?: { since?: string; wait?: number; limit?: number },
    options?: RequestOptions,
  ): AsyncGenerator<ChangesPage, void, undefined>;

  exportTasks(options?: RequestOptions & { format?: "json" | "csv" }): Promise<Blob>;
  importTasks(
    file: Blob | string,
    options?: KeyedOptions & {
      type?: "json" | "jsonl" | "csv";
      dryRun?: boolean;
      /** Rows without an id get one that follows from their fields, and are added once. */
      deduplicate?: boolean;
    },
  ): Promise<ImportReport>;
}

/** The service refused; `message` is a sentence for a person. */
export class ProblemError extends Error {
  constructor(problem: Problem, options?: { retryAfter?: number | null });
  readonly name: "ProblemError";
  readonly problem: Problem;
  readonly status: number;
  /** For programs; it never changes. */
  readonly code: string;
  readonly detail: string;
  /** What is wrong with which field. */
  readonly errors: FieldError[];
  /** Finds the request in the service's logs; null where it was a proxy that answered. */
  readonly requestId: string | null;
  /** Seconds to wait, if the service said so. */
  readonly retryAfter: number | null;
  /** With 412: the task as it is now. */
  readonly current: Task | undefined;
}

/** No answer came: the service is away, or this device is offline. */
export class NetworkError extends Error {
  constructor(cause?: unknown);
  readonly name: "NetworkError";
}

/** Make an id (UUIDv7), for a task that is created offline or for an Idempotency-Key. */
export function newId(): string;
