// Send each kind of write, and classify its refusal.

/** Send a write; return the current `{tasks}`, or `{isGone}`. */
export async function send(api, write, signal) {
  const options = { signal, retries: 0, idempotencyKey: write.key };
  switch (write.kind) {
    case "create":
      return { tasks: [await api.createTask(write.data, { id: write.id, ...options })] };
    case "edit": {
      const ifMatch = `"${write.base}"`;
      return { tasks: [await api.updateTask(write.id, write.changes, { ifMatch, ...options })] };
    }
    case "complete":
      return { tasks: [await api.completeTask(write.id, write.completed, options)] };
    case "move": {
      const { task, renumbered } = await api.moveTask(write.id, write.place, options);
      return { tasks: [task, ...renumbered] };
    }
    case "restore":
      return { tasks: [await api.restoreTask(write.id, options)] };
    case "delete":
      await api.deleteTask(write.id, options);
      return { isGone: true };
    default:
      throw new TypeError(`There is no write of the kind ${write.kind}.`);
  }
}

/**
 * Classify a refusal: the write is already `done`, must be sent `again` with changes, or is in
 * `conflict` with another one. An empty result means that it is refused.
 */
export function classifyRefusal(write, error) {
  const { status, code, current } = error;
  if (write.kind === "restore" && code === "task_exists") return { done: {} };
  if (write.kind === "delete" && status === 404) return { done: { isGone: true } };
  if (write.kind === "create") {
    // The id was generated here, so an existing task is the result of a previous attempt.
    if (status === 412 && current) return { done: { tasks: [current] } };
    if (code === "task_in_trash") return { done: { isGone: true } };
  }
  if (write.kind === "edit" && status === 412 && current) {
    const isThere = Object.entries(write.changes).every(([name, value]) => current[name] === value);
    if (isThere) return { done: { tasks: [current] } };
    // Changes of other fields are no conflict.
    if (isBasedOn(write, current)) return { again: { base: current.version } };
    return { conflict: current };
  }
  return {};
}

/** Return whether the task still has the former values of the fields that a write changes. */
export function isBasedOn(write, task) {
  return Object.keys(write.changes).every((name) => task[name] === write.before[name]);
}

/** Return whether two writes are edits of the same fields. */
export function hasSameFields(one, other) {
  if (one.kind !== "edit" || other.kind !== "edit") return false;
  return Object.keys(one.changes).join() === Object.keys(other.changes).join();
}

/** Return whether an edit changes no value. */
export function isNoChange({ changes, before }) {
  return Object.entries(changes).every(([name, value]) => before[name] === value);
}
