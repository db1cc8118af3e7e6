// Somebody with an account of their own, and the service that they call.

import { TaskApi, newId } from "../../../clients/js/taskapi.js";

export const BASE = process.env.BASE;
export const PASSWORD = "correct horse battery";

/** Open an account; `connection` may name a proxy before the service. */
export async function newcomer(connection = {}) {
  const api = new TaskApi({ baseUrl: BASE, ...connection });
  await api.register({ email: `${newId()}@example.com`, password: PASSWORD });
  return api;
}

/** Somebody who is signed in twice, as with two devices. */
export async function withTwoDevices(connection = {}) {
  const first = await newcomer();
  const second = new TaskApi({ baseUrl: BASE, ...connection });
  await second.login({ email: first.user.email, password: PASSWORD });
  return [first, second];
}

export async function titlesOf(tasks) {
  const titles = [];
  for await (const task of tasks) titles.push(task.title);
  return titles;
}

/** How often the service has answered a request, by its own count. */
export async function countOf(method, route, status) {
  const metrics = await (await fetch(`${BASE}/metrics`)).text();
  const labels = `{method="${method}",route="${route}",status="${status}"}`;
  const line = metrics.split("\n").find((one) => one.includes(`duration_seconds_count${labels}`));
  return Number(line?.split(" ")[1] ?? 0);
}
