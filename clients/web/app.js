// Where it all begins: who is signed in, and what they see.

import { TaskApi } from "../js/taskapi.js";
import { Account } from "./account.js";
import { Actions } from "./actions.js";
import { Connection } from "./connection.js";
import { keepDrafts, keepNewTitle, keptNewTitle } from "./drafts.js";
import { Gate } from "./gate.js";
import { List } from "./list.js";
import { Moving } from "./moving.js";
import { announce, clearToasts, confirm, quoted, reasonOf, toast } from "./notices.js";
import { Outbox } from "./outbox.js";
import { Store } from "./store.js";
import { Sync } from "./sync.js";

const VIEWS = ["starting", "gate", "app"];
const HEADINGS = { all: "All tasks", open: "Open tasks", done: "Done tasks" };
const DID = { create: "added", edit: "changed", complete: "changed", move: "moved", delete: "deleted", restore: "restored" };
const BANNER_AFTER = 700; // milliseconds; what is over sooner is nobody's concern

const $ = (id) => document.getElementById(id);
const query = $("query");
const newTitle = $("new-title");

// From the page and never from its URL: a link must not be able to send passwords elsewhere.
const named = document.querySelector("meta[name=taskapi]").content;
const baseUrl = (named || new URL("..", document.baseURI).href).replace(/\/+$/, "");
const connection = new Connection(baseUrl);
const api = new TaskApi({ baseUrl, cookie: true, fetch: connection.fetch });
const gate = new Gate(api, start);
const account = new Account(api, { onSignOut: signOut, onRename: showUser });

/** What is there while somebody is signed in. */
let desk = null;
let bannerTimer = null;

api.addEventListener("signout", ({ detail: { problem } }) => {
  keepDrafts();
  const waiting = desk?.outbox.waiting ?? 0;
  stop();
  const kept = waiting ? ` ${counted(waiting)} will be sent when you are back.` : "";
  openGate(problem ? `You have been signed out. Log in to go on.${kept}` : "");
});
connection.addEventListener("down", drawBanner);
connection.addEventListener("up", drawBanner);
addEventListener("hashchange", showFilter);
query.addEventListener("input", () => desk?.list.show({ query: query.value }));
query.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !query.value) return;
  event.preventDefault();
  clearQuery();
});
$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // What is shown stands in the same part of the address.
  newTitle.focus();
});
newTitle.addEventListener("input", () => desk && keepNewTitle(desk.user.id, newTitle.value));
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  add();
});
open();

/** Go on where the page was left, as soon as the service can be asked. */
async function open() {
  for (;;) {
    try {
      const user = await api.restore();
      return user ? start(user) : openGate();
    } catch (error) {
      if (error.status && error.status !== 503) return openGate(reasonOf(error));
      $("starting-text").textContent = "The service cannot be reached; trying again…";
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await connection.whenUp(new AbortController().signal);
    }
  }
}

function openGate(text) {
  show("gate");
  gate.open(text);
}

function start(user) {
  const outbox = new Outbox(user.id);
  const store = new Store(outbox);
  const sync = new Sync({ api, user, store, outbox, connection });
  const actions = new Actions(store, sync);
  const list = new List({ store, outbox, actions, onDraw: drawAround });
  desk = { user, outbox, store, sync, actions, list, moving: new Moving({ list, actions }) };
  sync.addEventListener("stuck", drawBanner);
  sync.addEventListener("refused", tellRefusal);
  sync.addEventListener("conflict", tellConflict);
  showUser(user);
  query.value = "";
  newTitle.value = keptNewTitle(user.id);
  show("app");
  showFilter();
  newTitle.focus();
}

function stop() {
  if (!desk) return;
  desk.sync.stop();
  desk.moving.stop();
  desk.list.stop();
  desk = null;
  account.close();
  clearToasts();
  newTitle.value = "";
}

async function signOut({ all }) {
  const { outbox, user } = desk;
  if (outbox.waiting) {
    const text = `${counted(outbox.waiting)} could not be sent yet and will be lost.`;
    if (!(await confirm({ title: "Sign out all the same?", text, yes: "Sign out" }))) return;
  }
  try {
    await api.logout({ all, retries: 1 });
    outbox.clear();
    keepNewTitle(user.id, "");
  } catch (error) {
    toast(`You are still signed in: ${reasonOf(error)}`);
  }
}

function add() {
  const title = newTitle.value.trim();
  newTitle.value = "";
  if (!desk) return;
  keepNewTitle(desk.user.id, "");
  if (!title) return;
  // It is to be seen where it has gone.
  if (location.hash === "#done") location.hash = "#all";
  if (query.value) clearQuery();
  scrollTo(0, 0);
  desk.actions.add(title);
}

function clearQuery() {
  query.value = "";
  desk?.list.show({ query: "" });
}

function show(view) {
  document.body.dataset.view = view;
  for (const name of VIEWS) $(name).hidden = name !== view;
}

function showUser(user) {
  $("account-name").textContent = user.name ?? user.email;
}

function showFilter() {
  if (!desk) return;
  const wanted = location.hash.slice(1);
  const filter = Object.hasOwn(HEADINGS, wanted) ? wanted : "all";
  for (const link of document.querySelectorAll("[data-filter]")) {
    link.ariaCurrent = link.dataset.filter === filter ? "page" : null;
  }
  $("heading").textContent = HEADINGS[filter];
  document.title = filter === "all" ? "Tasks" : HEADINGS[filter];
  desk.list.show({ filter });
}

/** What stands around the list follows it. */
function drawAround({ counts, found }) {
  if (!desk) return;
  const { store, list } = desk;
  for (const link of document.querySelectorAll("[data-filter]")) {
    const count = counts[link.dataset.filter];
    link.querySelector(".count").textContent = store.isComplete ? count.toLocaleString() : "";
  }
  drawBanner();
  const isSought = list.view.query.trim() !== "";
  $("found").textContent = isSought ? `${found} found` : "";
  const isEmpty = found === 0 && store.isComplete;
  $("empty").hidden = !isEmpty;
  if (isEmpty) [$("empty-title").textContent, $("empty-text").textContent] = emptiness(isSought, counts);
}

function emptiness(isSought, counts) {
  const { filter } = desk.list.view;
  if (isSought) return ["Nothing found", "No task has words that begin like these."];
  if (counts.all === 0) return ["A clean slate", "Write down the first thing that is on your mind."];
  if (filter === "done") return ["Nothing done yet", "What you complete is kept here."];
  return ["All done", "Nothing is open. Enjoy it."];
}

function drawBanner() {
  const banner = $("banner");
  if (!desk || (connection.isUp && !desk.sync.isStuck)) {
    clearTimeout(bannerTimer);
    bannerTimer = null;
    banner.textContent = "";
  } else if (banner.textContent) {
    tellOutage();
  } else {
    bannerTimer ??= setTimeout(tellOutage, BANNER_AFTER);
  }
}

function tellOutage() {
  if (!desk) return;
  const { waiting } = desk.outbox;
  const away = navigator.onLine ? "The service cannot be reached" : "You are offline";
  const where = connection.isUp ? "The service is busy" : away;
  $("banner").textContent = waiting ? `${where} – ${counted(waiting)} waiting` : `${where} – you can go on`;
}

function tellRefusal({ detail: { write, error } }) {
  const task = desk.store.get(write.id) ?? write.data ?? write.before ?? write.task;
  const title = write.changes?.title ?? task?.title;
  const what = title ? quoted(title) : "A task";
  const text = `${what} could not be ${DID[write.kind]}: ${reasonOf(error)}`;
  // Where it is still being written, its row offers to keep it.
  if (write.kind !== "edit" || error.status !== 404 || desk.list.isBusy(write.id)) {
    toast(text, { stays: 15_000 });
    return;
  }
  const { description } = { ...write.before, ...write.changes };
  toast(text, { action: "Keep as a new task", run: () => desk?.actions.add(title, description), stays: 0 });
}

function tellConflict({ detail: { write, error } }) {
  const text = `${quoted(error.current.title)} was changed elsewhere; both texts stand below it.`;
  if (desk.list.isInSight(write.id)) announce(text);
  else toast(text, { action: "Show", run: () => desk?.list.reveal(write.id) });
}

function counted(changes) {
  return changes === 1 ? "1 change" : `${changes} changes`;
}
