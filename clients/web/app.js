// The entry point of the page: restore the session, and show the login form or the tasks.

import { TaskApi } from "../js/taskapi.js";
import { Account } from "./account.js";
import { Actions } from "./actions.js";
import { Connection } from "./connection.js";
import { loadNewTitle, saveDrafts, storeNewTitle } from "./drafts.js";
import { List } from "./list.js";
import { LoginForm } from "./login.js";
import { announce, clearToasts, confirm, describeError, quote, toast } from "./notices.js";
import { Outbox } from "./outbox.js";
import { Reordering } from "./reordering.js";
import { Store } from "./store.js";
import { Sync } from "./sync.js";

const VIEWS = ["starting", "login", "app"];
const HEADINGS = { all: "All tasks", open: "Open tasks", done: "Done tasks" };
const PARTICIPLES = { create: "added", edit: "changed", complete: "changed", move: "moved", delete: "deleted", restore: "restored" };
const BANNER_DELAY_MS = 700; // Shorter outages show no banner.

const $ = (id) => document.getElementById(id);
const query = $("query");
const newTitle = $("new-title");

// Read from the page, never from its URL: a link must not redirect passwords to another service.
const configuredUrl = document.querySelector("meta[name=taskapi]").content;
const baseUrl = (configuredUrl || new URL("..", document.baseURI).href).replace(/\/+$/, "");
const connection = new Connection(baseUrl);
const api = new TaskApi({ baseUrl, cookie: true, fetch: connection.fetch });
const loginForm = new LoginForm(api, start);
const account = new Account(api, { onLogOut: logOut, onRename: showUser });

/** The objects of the current session, or null without one. */
let workspace = null;
let bannerTimer = null;

api.addEventListener("signout", ({ detail: { problem } }) => {
  saveDrafts();
  const pendingCount = workspace?.outbox.pendingCount ?? 0;
  stop();
  const hint = pendingCount ? ` ${formatChanges(pendingCount)} will be sent when you are back.` : "";
  openLogin(problem ? `You have been logged out. Log in to continue.${hint}` : "");
});
connection.addEventListener("down", drawBanner);
connection.addEventListener("up", drawBanner);
addEventListener("hashchange", showFilter);
query.addEventListener("input", () => workspace?.list.show({ query: query.value }));
query.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !query.value) return;
  event.preventDefault();
  clearQuery();
});
$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // The URL's fragment holds the filter and must not change.
  newTitle.focus();
});
newTitle.addEventListener("input", () => {
  if (workspace) storeNewTitle(workspace.user.id, newTitle.value);
});
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  add();
});
open();

/** Restore the session as soon as the service is reachable, or show the login form. */
async function open() {
  for (;;) {
    try {
      const user = await api.restore();
      return user ? start(user) : openLogin();
    } catch (error) {
      if (error.status && error.status !== 503) return openLogin(describeError(error));
      $("starting-text").textContent = "The service cannot be reached. Trying again…";
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await connection.waitUntilUp(new AbortController().signal);
    }
  }
}

function openLogin(text) {
  show("login");
  loginForm.open(text);
}

function start(user) {
  const outbox = new Outbox(user.id);
  const store = new Store(outbox);
  const sync = new Sync({ api, user, store, outbox, connection });
  const actions = new Actions(store, sync);
  const list = new List({ store, outbox, actions, onDraw: drawSurroundings });
  const reordering = new Reordering({ list, actions });
  workspace = { user, outbox, store, sync, actions, list, reordering };
  sync.addEventListener("stuck", drawBanner);
  sync.addEventListener("refused", showRefusal);
  sync.addEventListener("conflict", showConflict);
  showUser(user);
  query.value = "";
  newTitle.value = loadNewTitle(user.id);
  show("app");
  showFilter();
  newTitle.focus();
}

function stop() {
  if (!workspace) return;
  workspace.sync.stop();
  workspace.reordering.stop();
  workspace.list.stop();
  workspace = null;
  account.close();
  clearToasts();
  newTitle.value = "";
}

async function logOut({ all }) {
  const { outbox, user } = workspace;
  if (outbox.pendingCount) {
    const text = `${formatChanges(outbox.pendingCount)} could not be sent yet and will be lost.`;
    if (!(await confirm({ title: "Log out anyway?", text, yes: "Log out" }))) return;
  }
  try {
    await api.logout({ all, retries: 1 });
    outbox.clear();
    storeNewTitle(user.id, "");
  } catch (error) {
    toast(`You are still logged in: ${describeError(error)}`);
  }
}

function add() {
  const title = newTitle.value.trim();
  newTitle.value = "";
  if (!workspace) return;
  storeNewTitle(workspace.user.id, "");
  if (!title) return;
  // Make the new task visible.
  if (location.hash === "#done") location.hash = "#all";
  if (query.value) clearQuery();
  scrollTo(0, 0);
  workspace.actions.add(title);
}

function clearQuery() {
  query.value = "";
  workspace?.list.show({ query: "" });
}

function show(view) {
  document.body.dataset.view = view;
  for (const name of VIEWS) $(name).hidden = name !== view;
}

function showUser(user) {
  $("account-name").textContent = user.name ?? user.email;
}

function showFilter() {
  if (!workspace) return;
  const hash = location.hash.slice(1);
  const filter = Object.hasOwn(HEADINGS, hash) ? hash : "all";
  for (const link of document.querySelectorAll("[data-filter]")) {
    link.ariaCurrent = link.dataset.filter === filter ? "page" : null;
  }
  $("heading").textContent = HEADINGS[filter];
  document.title = filter === "all" ? "Tasks" : HEADINGS[filter];
  workspace.list.show({ filter });
}

/** Update the counts, the banner and the empty state after the list was drawn. */
function drawSurroundings({ counts, found }) {
  if (!workspace) return;
  const { store, list } = workspace;
  for (const link of document.querySelectorAll("[data-filter]")) {
    const count = counts[link.dataset.filter];
    link.querySelector(".count").textContent = store.isComplete ? count.toLocaleString() : "";
  }
  drawBanner();
  const isSearching = list.view.query.trim() !== "";
  $("found").textContent = isSearching ? `${found} found` : "";
  const isEmpty = found === 0 && store.isComplete;
  $("empty").hidden = !isEmpty;
  if (!isEmpty) return;
  [$("empty-title").textContent, $("empty-text").textContent] = describeEmptyList(isSearching, counts);
}

function describeEmptyList(isSearching, counts) {
  const { filter } = workspace.list.view;
  if (isSearching) return ["Nothing found", "No task has words that start with your search terms."];
  if (counts.all === 0) return ["No tasks yet", "Add the first thing on your mind."];
  if (filter === "done") return ["Nothing done yet", "Completed tasks appear here."];
  return ["All done", "You have no open tasks. Enjoy!"];
}

function drawBanner() {
  const banner = $("banner");
  if (!workspace || (connection.isUp && !workspace.sync.isStuck)) {
    clearTimeout(bannerTimer);
    bannerTimer = null;
    banner.textContent = "";
  } else if (banner.textContent) {
    showOutage();
  } else {
    bannerTimer ??= setTimeout(showOutage, BANNER_DELAY_MS);
  }
}

function showOutage() {
  if (!workspace) return;
  const { pendingCount } = workspace.outbox;
  const outage = navigator.onLine ? "The service cannot be reached" : "You are offline";
  const state = connection.isUp ? "The service is busy" : outage;
  const hint = pendingCount ? `${formatChanges(pendingCount)} waiting` : "you can keep working";
  $("banner").textContent = `${state} – ${hint}`;
}

function showRefusal({ detail: { write, error } }) {
  const task = workspace.store.get(write.id) ?? write.data ?? write.before ?? write.task;
  const title = write.changes?.title ?? task?.title;
  const subject = title ? quote(title) : "A task";
  const text = `${subject} could not be ${PARTICIPLES[write.kind]}: ${describeError(error)}`;
  // For an open editor, its row offers to keep the text.
  if (write.kind !== "edit" || error.status !== 404 || workspace.list.isBusy(write.id)) {
    toast(text, { duration: 15_000 });
    return;
  }
  const { description } = { ...write.before, ...write.changes };
  const run = () => workspace?.actions.add(title, description);
  toast(text, { action: "Keep as a new task", run, duration: 0 });
}

function showConflict({ detail: { write, error } }) {
  const title = quote(error.current.title);
  const text = `${title} was changed elsewhere. Both versions are shown below it.`;
  if (workspace.list.isVisible(write.id)) announce(text);
  else toast(text, { action: "Show", run: () => workspace?.list.reveal(write.id) });
}

function formatChanges(changes) {
  return changes === 1 ? "1 change" : `${changes} changes`;
}
