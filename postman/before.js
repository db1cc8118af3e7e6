// Before each request: whatever it needs to be answered well is made, if it is not there yet.
const keep = (name, value) => pm.environment.set(name, value);
const kept = (name) => pm.environment.get(name);

const decode = require("atob");
const claimsOf = (token) =>
  JSON.parse(decode(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")));
const isGood = (token) => Boolean(token) && claimsOf(token).exp * 1000 > Date.now() + 30_000;

function call(method, path, token, body, then) {
  const header = { "Content-Type": "application/json" };
  if (token) header.Authorization = `Bearer ${token}`;
  const sent = { url: pm.variables.get("baseUrl") + path, method, header };
  if (body) sent.body = { mode: "raw", raw: JSON.stringify(body) };
  pm.sendRequest(sent, (error, response) => {
    if (error) throw error;
    then(response);
  });
}

function keepTokens(response) {
  const pair = response.code === 200 ? response.json() : {};
  keep("access_token", pair.access_token || "");
  keep("refresh_token", pair.refresh_token || "");
}

const asked = `${pm.request.method} /${pm.request.url.path.join("/")}`;
const credentials = () => ({ email: kept("email"), password: kept("password") });
const newTask = { [pm.collectionVariables.get("title_name")]: "Buy milk" };
const createTask = (name, next) =>
  call("POST", "/tasks", kept("access_token"), newTask, (response) => {
    keep(name, response.json().id);
    next();
  });

// Each of these does what it is about, or nothing, and then goes on with `next`.
const steps = [
  function takeAnotherAddress(next) {
    if (asked === "POST /auth/register") {
      keep("email", pm.variables.replaceIn("ada+{{$guid}}@example.com"));
    }
    next();
  },

  function logInAgain(next) {
    const goOn = (response) => (keepTokens(response), next());
    if (pm.collectionVariables.get("has_accounts") === "no") return next();
    if (!kept("user_id") || isGood(kept("access_token"))) return next();
    if (isGood(kept("refresh_token"))) {
      return call("POST", "/auth/refresh", kept("refresh_token"), null, goOn);
    }
    return call("POST", "/auth/login", null, credentials(), goOn);
  },

  function haveATask(next) {
    const needed = asked.includes(":task_id") || asked === "POST /tasks/batch";
    return needed && !kept("task_id") ? createTask("task_id", next) : next();
  },

  function haveItInTheTrash(next) {
    if (!asked.includes("/trash/:task_id")) return next();
    return call("DELETE", `/tasks/${kept("task_id")}`, kept("access_token"), null, () => next());
  },

  function haveAnother(next) {
    return asked.endsWith("/move") ? createTask("anchor_id", next) : next();
  },

  function haveAnotherSession(next) {
    if (!asked.includes(":session_id")) return next();
    return call("POST", "/auth/login", null, credentials(), (response) => {
      keep("session_id", claimsOf(response.json().access_token).sid);
      next();
    });
  },
];

(function take([step, ...others]) {
  if (step) step(() => take(others));
})(steps);
