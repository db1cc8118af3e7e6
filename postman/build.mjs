// Make the Postman collections and their environment: `make postman`.
// Without an argument from docs/openapi.json; with the name of a contract from its document on
// standard input.
// The same document makes the same files, to the byte: ids are digests of what they name.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import converter from "openapi-to-postmanv2";

const here = (name) => new URL(name, import.meta.url);
const read = (name) => readFileSync(here(name), "utf8");
const write = (name, value) => writeFileSync(here(name), `${JSON.stringify(value, null, 2)}\n`);

const [contract] = process.argv.slice(2);
const document = JSON.parse(contract ? readFileSync(0, "utf8") : read("../docs/openapi.json"));
const { schemas, parameters } = document.components;

// In the order in which they can be run: what ends an account or a session comes last.
const FOLDERS = {
  service: "service",
  docs: "docs",
  metrics: "metrics",
  auth: "auth",
  tasks: "tasks",
  batch: "batch",
  changes: "changes",
  transfer: "transfer",
  trash: "trash",
  tasks_by_user: "tasks_by_user",
  leave: "auth: leave",
};
const FIRST = [
  ...["auth_register", "auth_log_in", "auth_log_out"],
  ...["tasks_create_task", "tasks_by_user_create_task_of_user"],
];
const LAST = ["tasks_delete_task", "tasks_by_user_delete_task", "trash_empty_trash"];
const LEAVING = ["auth_log_out", "auth_delete_me"];

// What stands in examples for something that a variable holds.
const VARIABLES = [
  [parameters.task_id.schema.examples[0], "{{task_id}}"],
  [schemas.Move.properties.after.examples[0], "{{anchor_id}}"],
  [schemas.Registration?.properties.email.examples[0], "{{email}}"],
  [schemas.Registration?.properties.password.examples[0], "{{password}}"],
  [schemas.PasswordChange?.properties.new_password.examples[0], "{{new_password}}"],
].filter(([text]) => text);
const HEADERS = {
  "Idempotency-Key": "{{$guid}}",
  "X-Request-ID": "{{$guid}}",
};
const AUTH = { access: "{{access_token}}", refresh: "{{refresh_token}}" };

function idOf(name) {
  const digest = createHash("sha256").update(name).digest("hex");
  return digest.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/, "$1-$2-5$3-8$4-$5");
}

const bearer = (token) => ({
  type: "bearer",
  bearer: [{ key: "token", value: token, type: "string" }],
});
const script = (listen, code) => ({
  listen,
  script: { type: "text/javascript", exec: code.trimEnd().split("\n") },
});

// A schema by itself: with the components in their places, and nothing that only people read.
function standalone(schema) {
  if (Array.isArray(schema)) return schema.map(standalone);
  if (schema === null || typeof schema !== "object") return schema;
  if (schema.$ref) return standalone(schemas[schema.$ref.split("/").pop()]);
  const { description, examples, properties, ...rest } = schema;
  const each = (parts) =>
    Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, standalone(part)]));
  return properties ? { ...each(rest), properties: each(properties) } : each(rest);
}

function testsOf(operation) {
  const successes = Object.keys(operation.responses).filter((status) => /^2/.test(status));
  const schema = operation.responses[successes[0]].content?.["application/json"]?.schema;
  const lines = [
    `pm.test("answers ${successes.join(" or ")}", () => {`,
    `  pm.expect(pm.response.code, pm.response.text()).to.be.oneOf([${successes.join(", ")}]);`,
    "});",
    'pm.test("names the request", () => pm.response.to.have.header("X-Request-ID"));',
  ];
  if (schema) {
    lines.push(
      'pm.test("has the documented shape", () => {',
      `  pm.response.to.have.jsonSchema(${JSON.stringify(standalone(schema))});`,
      "});",
    );
  }
  return lines.join("\n");
}

function finish(item) {
  const { request } = item;
  const path = `/${request.url.path.join("/")}`.replace(/:(\w+)/g, "{$1}");
  const operation = document.paths[path][request.method.toLowerCase()];
  const id = operation.operationId;

  for (const variable of request.url.variable ?? []) variable.value = `{{${variable.key}}}`;
  for (const parameter of request.url.query ?? []) {
    const described = operation.parameters.find((one) => one.name === parameter.key);
    parameter.value = String(described.schema.examples[0]);
  }
  for (const header of request.header ?? []) {
    const shared = parameters[header.key]?.schema.examples[0];
    if (header.disabled) header.value = HEADERS[header.key] ?? shared;
  }
  if (request.body?.mode === "raw") {
    const [[media, { example }]] = Object.entries(operation.requestBody.content);
    request.body.raw =
      typeof example === "string" ? example : JSON.stringify(example, null, 2);
    if (id !== "transfer_import_file") {
      for (const [text, variable] of VARIABLES) {
        request.body.raw = request.body.raw.replaceAll(`"${text}"`, `"${variable}"`);
      }
    }
    request.header = request.header.filter((header) => header.key !== "Content-Type");
    request.header.unshift({ key: "Content-Type", value: media });
  }
  const [scheme] = operation.security.flatMap(Object.keys); // The empty one has none.
  if (scheme === "access") delete request.auth; // It is the collection's.
  else request.auth = scheme ? bearer(AUTH[scheme]) : { type: "noauth" };

  const name = operation.summary.replace(/\.$/, "");
  return {
    id,
    folder: LEAVING.includes(id) ? "leave" : operation.tags[0],
    item: {
      name,
      id: idOf(id),
      request: { ...request, name, description: operation.description ?? "" },
      response: [],
      event: [script("test", testsOf(operation))],
    },
  };
}

function rank({ id }) {
  if (FIRST.includes(id)) return FIRST.indexOf(id) - FIRST.length;
  return LAST.indexOf(id) + 1;
}

function collectionOf(converted) {
  const items = converted.item.flatMap((folder) => folder.item).map(finish);
  const folders = Object.entries(FOLDERS).map(([tag, name]) => ({
    name,
    id: idOf(`folder ${tag}`),
    description: document.tags.find((one) => one.name === tag)?.description ?? "The end of it.",
    item: items
      .filter(({ folder }) => folder === tag)
      .sort((a, b) => rank(a) - rank(b))
      .map(({ item }) => item),
  }));
  return {
    info: {
      _postman_id: idOf(contract ? `collection ${contract}` : "collection"),
      name: contract ? `taskapi, contract ${contract.toUpperCase()}` : "taskapi",
      description: document.info.description,
      schema: "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
    },
    item: folders.filter(({ item }) => item.length),
    auth: bearer(AUTH.access),
    event: [script("prerequest", read("before.js")), script("test", read("after.js"))],
    variable: [
      { key: "baseUrl", value: "http://127.0.0.1:8000" },
      { key: "title_name", value: schemas.TaskInput.required[0] },
      { key: "has_accounts", value: schemas.Registration ? "yes" : "no" },
    ],
  };
}

function environment() {
  const values = {
    baseUrl: "http://127.0.0.1:8000",
    ...Object.fromEntries(VARIABLES.map(([text, variable]) => [variable.slice(2, -2), text])),
    ...{ task_id: "", anchor_id: "", user_id: "", session_id: "" },
    ...{ access_token: "", refresh_token: "" },
  };
  return {
    id: idOf("environment"),
    name: "taskapi, on this machine",
    values: Object.entries(values).map(([key, value]) => ({
      key,
      value,
      type: /token|password/.test(key) ? "secret" : "default",
      enabled: true,
    })),
    _postman_variable_scope: "environment",
  };
}

const options = {
  folderStrategy: "Tags",
  parametersResolution: "Example",
  enableOptionalParameters: false,
};
converter.convertV2({ type: "json", data: document }, options, (error, result) => {
  if (error || !result.result) throw error ?? new Error(result.reason);
  const name = contract ? `taskapi-contract-${contract}` : "taskapi";
  write(`${name}.postman_collection.json`, collectionOf(result.output[0].data));
  if (!contract) write("taskapi.postman_environment.json", environment());
});
