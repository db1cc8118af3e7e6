// The types are written by hand: they are to name what there is, and nothing else.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import ts from "typescript";

import * as client from "../../../clients/js/taskapi.js";

const declared = new Map();
const text = readFileSync(new URL("../../../clients/js/taskapi.d.ts", import.meta.url), "utf8");
const source = ts.createSourceFile("taskapi.d.ts", text, ts.ScriptTarget.ES2022);
source.forEachChild((node) => {
  if (ts.isClassDeclaration(node) || ts.isFunctionDeclaration(node)) {
    const members = (node.members ?? []).filter(({ name }) => name).map(({ name }) => name.text);
    declared.set(node.name.text, new Set(members));
  }
});

test("everything that can be imported has a type", () => {
  assert.deepEqual([...declared.keys()].sort(), Object.keys(client).sort());
});

test("every method has a type, and every type a method", () => {
  const problem = new client.ProblemError({ status: 404 });
  for (const [name, instance] of [
    ["TaskApi", new client.TaskApi({ baseUrl: "http://localhost:8000" })],
    ["ProblemError", problem],
  ]) {
    const own = new Set(Object.getOwnPropertyNames(client[name].prototype));
    own.delete("constructor");
    for (const member of own) assert.ok(declared.get(name).has(member), `${name}.${member}`);
    for (const member of declared.get(name)) assert.ok(member in instance, `${name}.${member}`);
  }
});
