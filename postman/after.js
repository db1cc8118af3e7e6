// After each request: what the next ones go on with is kept.
// By now there may be ids in the place of their variables.
const path = pm.request.url.path.map((step) => (/^:|^[0-9a-f-]{36}$/.test(step) ? ":id" : step));
const asked = `${pm.request.method} /${path.join("/")}`;
const isDone = pm.response.code < 300;
const isJSON = (pm.response.headers.get("Content-Type") || "").startsWith("application/json");
const answer = isDone && isJSON ? pm.response.json() : {};

if (answer.access_token) {
  pm.environment.set("access_token", answer.access_token);
  pm.environment.set("refresh_token", answer.refresh_token || "");
  pm.environment.set("user_id", answer.user.id);
}
if (asked === "GET /auth/me" && isDone) pm.environment.set("user_id", answer.id);
if (answer.version && answer.user_id) pm.environment.set("task_id", answer.id);

const forget = {
  "POST /auth/logout": ["access_token", "refresh_token"],
  "DELETE /auth/me": ["access_token", "refresh_token", "user_id", "task_id"],
  "DELETE /tasks/:id": ["task_id"],
  "DELETE /trash/:id": ["task_id"],
  "DELETE /api/:id/tasks/:id": ["task_id"],
};
if (isDone) (forget[asked] || []).forEach((name) => pm.environment.set(name, ""));

if (asked === "POST /auth/password" && isDone) {
  const old = pm.environment.get("password");
  pm.environment.set("password", pm.environment.get("new_password"));
  pm.environment.set("new_password", old);
}
