// How each kind of write is sent, and what a refusal of it means.

/** Send a write; returns `{tasks}` as they are now, or `{isGone}`. */
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
 * What to make of a refusal: the write is `done` already, it is to be sent `again` with
 * changes, it is in `conflict` with another one, or none of it: then it is refused.
 */
export function judge(write, error) {
  const { status, code, current } = error;
  if (write.kind === "restore" && code === "task_exists") return { done: {} };
  if (write.kind === "delete" && status === 404) return { done: { isGone: true } };
  if (write.kind === "create") {
    // The id was made here: whatever is there by it came of a try before.
    if (status === 412 && current) return { done: { tasks: [current] } };
    if (code === "task_in_trash") return { done: { isGone: true } };
  }
  if (write.kind === "edit" && status === 412 && current) {
    const isThere = Object.entries(write.changes).every(([name, value]) => current[name] === value);
    if (isThere) return { done: { tasks: [current] } };
    // Something else of it was changed, which is no contradiction.
    if (isBasedOn(write, current)) return { again: { base: current.version } };
    return { conflict: current };
  }
  return {};
}

/** Whether the fields that a write changes are as they were when it was written. */
export function isBasedOn(write, task) {
  return Object.keys(write.changes).every((name) => task[name] === write.before[name]);
}

/** Whether two edits are about the same text. */
export function changesSameFields(one, other) {
  if (one.kind !== "edit" || other.kind !== "edit") return false;
  return Object.keys(one.changes).join() === Object.keys(other.changes).join();
}

/** Whether an edit leaves everything as it was. */
export function isUndone({ changes, before }) {
  return Object.entries(changes).every(([name, value]) => before[name] === value);
}
