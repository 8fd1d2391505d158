"use strict";
// Everything that comes from the bridge is put into text nodes and attributes, never parsed as HTML. Elements are changed in
// place and only where their text differs, so that a selection outlives an update.

const POLL_MS = 2000, POLL_HIDDEN_MS = 15000, HISTORY_MS = 10000, TIMEOUT_MS = 8000;
const RULES_MAX = 100, PROBLEMS_MAX = 8, LETTERS_RECENT_S = 600, BEHIND_S = 60, URGENT_S = 3600, HOUR_S = 3600;
const $ = id => document.getElementById(id);

// ---- Figures for people.

const whole = n => Math.round(n).toLocaleString("en-US");
const plural = (n, one, many) => `${whole(n)} ${n === 1 ? one : many || one + "s"}`;
const rate = n => n === null || n === undefined ? "–" : `${n >= 10 || n === 0 ? whole(n) : n >= 0.1 ? n.toFixed(1) : "< 0.1"}/s`;
function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n >= 100 || unit === 0 || Number.isInteger(n) ? whole(n) : n.toFixed(1)} ${units[unit]}`;
}
function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const two = (big, bigName, small, smallName) => small ? `${big} ${bigName} ${small} ${smallName}` : `${big} ${bigName}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return two(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "min");
  return two(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
}
const pad = n => String(n).padStart(2, "0");
function clock(date) {
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  const today = new Date();
  return date.toDateString() === today.toDateString() ? time : `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${time}`;
}
const at = text => clock(new Date(text));
const ago = text => (Date.now() - new Date(text).getTime()) / 1000;
const since = text => text ? `since ${at(text)} (${span(ago(text))})` : "";

// ---- Changing the page in place.

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}
function text(element, value) {
  value = value === null || value === undefined ? "" : String(value);
  const node = element.firstChild;
  if (!node) { if (value) element.append(value); return; }
  if (node.nodeValue === value) return;
  // Somebody is copying just this.
  const selection = getSelection();
  if (!selection.isCollapsed && selection.anchorNode === node && selection.focusNode === node) return;
  node.nodeValue = value;
}
function attribute(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}
function show(element, is) { if (element.hidden === !!is) element.hidden = !is; }
// One child of `parent` for each item, in their order; the same child for the same key.
function each(parent, items, key, create, update) {
  const known = parent.known || (parent.known = new Map());
  const fresh = new Map();
  items.forEach((item, index) => {
    let name = key(item, index);
    while (fresh.has(name)) name += "\u0001";
    const child = known.get(name) || create(item);
    fresh.set(name, child);
    update(child, item, index);
  });
  for (const [name, child] of known) if (fresh.get(name) !== child) child.remove();
  let place = parent.querySelector(":scope > .list-begin");
  place = place ? place.nextSibling : parent.firstChild;
  for (const child of fresh.values()) {
    if (child === place) place = place.nextSibling;
    else parent.insertBefore(child, place);
  }
  parent.known = fresh;
}
function copyable(label) {
  const pre = make("pre"), button = make("button", "", "Copy");
  button.type = "button";
  button.setAttribute("aria-label", label);
  button.addEventListener("click", async () => {
    let done = true;
    try { await navigator.clipboard.writeText(pre.textContent); }
    catch {
      // Over plain HTTP from another machine there is no clipboard: select it, and ask the old way.
      getSelection().selectAllChildren(pre);
      done = document.execCommand("copy");
    }
    text(button, done ? "Copied" : "Selected");
    setTimeout(() => text(button, "Copy"), 1500);
  });
  const box = make("div", "copy", pre, button);
  box.pre = pre;
  return box;
}

// ---- What is wrong. Each problem: level, title, since, why, what to do, SQL or command to copy.

// One state for each peer, from which the banner, the cards and the title all speak.
function databaseState(d) {
  if (d.held && (d.connected || d.last_error === d.held.reason)) return "held";
  if (!d.connected) return "down";
  return d.parked.length ? "parked" : "connected";
}
// Statements have their verbs in capitals; advice begins in lower case.
const isSql = mend => /^\s*(CREATE|ALTER|GRANT|INSERT|UPDATE|DELETE|DROP|SET|COMMENT|REFRESH)\b/.test(mend || "");
function mending(mend, otherwise) {
  if (!mend) return { todo: otherwise };
  return isSql(mend) ? { todo: "Run this in the database, or change the rule:", copy: mend } : { todo: `${mend[0].toUpperCase()}${mend.slice(1)}.` };
}
function fullText(history) {
  const left = history && history.journal_full_in_seconds;
  return left === null || left === undefined || left > 30 * 86400 ? null : left < 1 ? "full now" : `full in about ${span(left)}`;
}
function ofJournal(s) {
  const j = s.journal;
  if (j.dropping) return [{
    level: "bad", key: "dropping", since: null, title: "The journal is full: messages are being dropped",
    why: `journal.when_full says so. ${bytes(j.bytes)} of ${bytes(j.max_bytes)} are in use; ${plural(j.lost, "message")} lost since the start.`,
    todo: "Bring back the database that lags, make room on the disk, or raise journal.max_size.",
  }];
  if (!j.paused) return [];
  const isFull = j.bytes >= 0.7 * j.max_bytes;
  const away = Object.entries(s.databases).filter(([, d]) => d.pending > 0).map(([name]) => name);
  return [{
    level: "bad", key: "paused", since: j.paused_since,
    title: isFull ? "The journal is full: no messages are taken" : "The journal takes no messages: its disk is full or fails",
    why: `The broker queues what comes, as far as its own limit goes. ${bytes(j.bytes)} of ${bytes(j.max_bytes)} are in use.`,
    todo: !isFull ? "Make room on the disk; the log names the error." : away.length
      ? `Bring back ${away.map(name => `database ${name}`).join(" and ")}: the bridge goes on by itself as soon as there is room.`
      : "Nothing, if the databases catch up; otherwise raise journal.max_size.",
  }];
}
function ofBroker(s) {
  const m = s.mqtt, problems = [];
  if (!m.connected) {
    const isStarting = !m.last_error && s.uptime_seconds < 15;
    problems.push({
      level: isStarting ? "warn" : "bad", key: "broker", since: m.since,
      title: isStarting ? "Connecting to the broker" : "The broker is not connected",
      why: m.last_error || "No answer yet.",
      todo: `${isStarting ? "Nothing yet." : `Look whether the broker runs${m.url ? ` at ${m.url}` : ""} and lets this client in.`} The bridge tries again by itself; the broker keeps messages for its session meanwhile.`,
    });
    return problems;
  }
  const refused = m.subscriptions.filter(one => one.error);
  if (refused.length) problems.push({
    level: "bad", key: "refused", since: null,
    title: `The broker refuses ${refused.length === m.subscriptions.length ? "every topic filter" : plural(refused.length, "topic filter")}`,
    why: refused.slice(0, 3).map(one => `${one.filter}: ${one.error}`).join("; "),
    todo: "Change the broker's access rules, or the rule's topic. The bridge asks again by itself.",
  });
  return problems;
}
// The second connection, and the tables that are published.
function ofOutbound(s) {
  const m = s.mqtt, o = m.outbound, problems = [];
  const isStarting = s.uptime_seconds < 15;
  if (o && m.connected && !o.connected && !(isStarting && !o.last_error)) problems.push({
    level: "warn", key: "outbound", since: null, title: "Rows are not published, and queries and answers wait",
    why: o.last_error || "No answer yet.",
    todo: "Let the client id of the second connection (mqtt.client_id with -out) in. The bridge tries again by itself.",
  });
  if (o && o.refused_topics.length) problems.push({
    level: "bad", key: "requests", since: null, title: `The broker refuses ${plural(o.refused_topics.length, "request topic")}`,
    why: o.refused_topics.slice(0, 3).map(one => `${one.topic}: ${one.error}`).join("; "),
    todo: "Change the broker's access rules, or the query's topic. The bridge asks again by itself.",
  });
  for (const one of s.publish.filter(one => one.error)) problems.push({
    level: "warn", key: `publish ${one.name}`, since: null, title: `publish ${one.name} waits`,
    why: one.error, todo: `Mend what is named here. ${plural(one.pending, "change")} ${one.pending === 1 ? "waits" : "wait"} in the database.`,
  });
  return problems;
}
function ofDatabase(name, d, s, history) {
  const state = databaseState(d), problems = [];
  const waiting = `${plural(d.pending, "message")} ${d.pending === 1 ? "waits" : "wait"} in the journal`;
  const left = fullText(history);
  if (state === "held") problems.push({
    level: "bad", key: `held ${name}`, since: d.held.since, title: `Database ${name} is held: a person is needed`,
    why: d.held.reason, ...mending(d.held.mend, "Mend what is named here."),
    after: `The bridge looks again every few seconds and goes on by itself. ${waiting}${left ? ` (${left})` : ""}.`,
  });
  if (state === "down") {
    const isStarting = !d.last_error && s.uptime_seconds < 15;
    problems.push({
      level: "warn", key: `down ${name}`, since: d.since,
      title: isStarting ? `Connecting to database ${name}` : `Database ${name} is not connected`,
      why: d.last_error || "No answer yet.",
      todo: `${isStarting ? "Nothing yet" : "Bring it back; nothing is lost, and delivery goes on by itself"}. ${waiting}${left ? ` (${left})` : ""}.`,
    });
  }
  if (d.unanswered_since && state !== "held" && state !== "down") problems.push({
    level: "warn", key: `unanswered ${name}`, since: d.unanswered_since, title: `Database ${name} does not answer`,
    why: `It is connected and has committed nothing meanwhile. ${waiting}${left ? ` (${left})` : ""}.`,
    todo: "Look at the server, and at who holds locks on its tables. After statement_timeout the bridge connects again by itself.",
  });
  const tables = new Map();
  for (const parked of d.parked) tables.set(parked.table, [...(tables.get(parked.table) || []), parked]);
  for (const [table, list] of tables) {
    const messages = list.reduce((sum, parked) => sum + parked.messages, 0);
    problems.push({
      level: "bad", key: `parked ${name} ${table}`, since: list[0].since,
      title: `Table ${table} in ${name} takes nothing: ${list.length === 1 ? `rule ${list[0].rule} is` : `${plural(list.length, "rule")} are`} parked`,
      why: list[0].reason, ...mending(list[0].mend, "Mend the table; the statement for it stands in the log where the database was held."),
      after: `${plural(messages, "message")} ${messages === 1 ? "is" : "are"} kept among the dead letters and ${messages === 1 ? "goes" : "go"} in by ${messages === 1 ? "itself" : "themselves"}, in order. Other rules go on.`,
    });
  }
  if (state === "connected" && !d.unanswered_since && d.pending > 0 && d.oldest_pending_seconds > BEHIND_S) problems.push({
    level: "warn", key: `behind ${name}`, since: null, title: `Database ${name} is behind by ${span(d.oldest_pending_seconds)}`,
    why: d.last_error || `${waiting}${left ? ` (${left})` : ""}.`,
    todo: "Nothing while “out” is above “in”: it catches up. Otherwise this database is too slow for what comes.",
  });
  return problems;
}
function ofMessages(s) {
  const problems = [];
  if (s.journal.lost > 0) problems.push({
    level: "warn", key: "lost", since: null, title: `${plural(s.journal.lost, "message")} lost since the start`,
    why: "Dropped by a full journal, or lost to damage on the disk.",
    todo: "The log names them at ERROR, and so do the dead letters:", copy: "rowbridge dead-letters list --reason lost_range",
  });
  const recent = s.refused.filter(one => ago(one.at) < LETTERS_RECENT_S);
  if (recent.length) {
    const last = recent[0], dropped = recent.every(one => !one.list);
    problems.push({
      level: "warn", key: "letters", since: null, when: `last ${at(last.at)} (${span(ago(last.at))} ago)`,
      title: "Some messages give no row",
      why: `Last: ${last.rule === "-" ? "no rule" : `rule ${last.rule}`}, ${last.reason}: ${last.error}`,
      todo: dropped ? "They were dropped, as the rule says (on_error: drop). Mend the device or the rule." : "They are kept with the reason. Mend the device or the rule; the commands that list them stand below.",
    });
  }
  return problems;
}
const RANK = { bad: 0, warn: 1, good: 2 };
function problemsOf(s, history) {
  const databases = Object.entries(s.databases).flatMap(([name, d]) => ofDatabase(name, d, s, history));
  // Of equal weight, what stops the intake comes first.
  const all = [...ofJournal(s), ...ofBroker(s), ...databases, ...ofOutbound(s), ...ofMessages(s)].sort((a, b) => RANK[a.level] - RANK[b.level]);
  if (all.length) return all;
  const waiting = Object.values(s.databases).reduce((sum, d) => sum + d.pending, 0);
  return [{
    level: "good", key: "well", since: null, title: "All is well",
    why: waiting > 1000 ? `Messages are taken and delivered; ${plural(waiting, "message")} on the way.` : "Messages are taken and delivered.",
  }];
}
function gone(seen, why) {
  return [{
    level: "bad", key: "gone", since: seen && seen.toISOString(), title: "The bridge does not answer",
    why: seen ? `${why}. What stands below is as of ${clock(seen)} and may have changed.` : `${why}.`,
    todo: "Look whether it runs: systemctl status rowbridge, or docker ps. This page goes on by itself.",
  }];
}

function drawProblems(problems) {
  show($("loading"), false);
  const level = problems[0].level;
  attribute($("verdict"), "data-level", level);
  const more = problems.length - PROBLEMS_MAX;
  const shown = problems.slice(0, PROBLEMS_MAX);
  if (more > 0) shown.push({ level: "none", key: "more", title: `and ${whole(more)} more: see the databases and rules below` });
  each($("problems"), shown, one => one.key, () => {
    const title = make("span"), when = make("span", "since"), why = make("p", "why"), todo = make("p", "do");
    const copy = copyable("Copy what mends it"), after = make("p", "do dim");
    const item = make("li", "", make("p", "title", title, when), why, todo, copy, after);
    return Object.assign(item, { parts: { title, when, why, todo, copy, after } });
  }, (item, one) => {
    const { title, when, why, todo, copy, after } = item.parts;
    attribute(item, "data-level", one.level);
    text(title, one.title);
    text(when, one.when || since(one.since)); show(when, one.when || one.since);
    text(why, one.why); show(why, one.why);
    text(todo, one.todo); show(todo, one.todo);
    text(copy.pre, one.copy); show(copy, one.copy);
    text(after, one.after); show(after, one.after);
  });
}

// ---- The last hour.

const SVG = "http://www.w3.org/2000/svg", WIDTH = 360, HEIGHT = 46;
function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
function tile(label) {
  const now = make("p", "now"), list = make("p", "series"), foot = make("p", "foot");
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const lines = svg("g", {}), cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT });
  cursor.style.display = "none";
  chart.append(svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT - .5, y2: HEIGHT - .5 }), lines, cursor);
  const box = make("div", "tile", make("h3", "", label), now, list, chart, foot);
  const self = { box, now, list, foot, chart, lines, cursor, label, index: null };
  chart.addEventListener("pointermove", event => {
    if (!self.ages || !self.ages.length) return;
    const frame = chart.getBoundingClientRect();
    const wanted = range(self.ages) * (1 - (event.clientX - frame.left) / frame.width);
    self.index = self.ages.reduce((best, age, i) => Math.abs(age - wanted) < Math.abs(self.ages[best] - wanted) ? i : best, 0);
    drawFoot(self);
  });
  chart.addEventListener("pointerleave", () => { self.index = null; drawFoot(self); });
  return self;
}
// A bridge that has just started shows what there is, ten minutes wide at least.
const range = ages => Math.min(HOUR_S, Math.max(HOUR_S / 6, ages[0] || 0));
const place = (age, ages) => WIDTH * (1 - Math.min(1, age / range(ages)));
// A tile shows `series`: [{name, values, format}], on one scale from 0 to `top`.
function drawTile(self, ages, series, top, foot) {
  Object.assign(self, { ages, series, restFoot: foot });
  const one = series.length === 1;
  show(self.now, one); show(self.list, !one);
  if (one) text(self.now, series[0].now);
  else each(self.list, series, item => item.name, () => {
    const mark = make("i"), value = make("b"), name = make("span", "dim");
    return Object.assign(make("span", "", mark, value, name), { parts: { mark, value, name } });
  }, (item, { name, now }, index) => {
    attribute(item.parts.mark, "class", `s${index % 4}`);
    text(item.parts.value, now); text(item.parts.name, name);
  });
  const x = age => place(age, ages);
  const y = value => (HEIGHT - 1.5) - (HEIGHT - 4) * (top > 0 ? Math.min(1, value / top) : 0);
  const paths = [];
  series.forEach(({ values }, index) => {
    let line = "", area = "", pen = false, from = 0;
    values.forEach((value, i) => {
      if (value === null || value === undefined) { if (pen) area += `L${x(ages[i - 1]).toFixed(1)} ${HEIGHT}Z`; pen = false; return; }
      const point = `${x(ages[i]).toFixed(1)} ${y(value).toFixed(1)}`;
      if (!pen) { from = x(ages[i]).toFixed(1); area += `M${from} ${HEIGHT}L${point}`; } else area += `L${point}`;
      line += (pen ? "L" : "M") + point;
      pen = true;
    });
    if (pen) area += `L${x(ages[values.length - 1]).toFixed(1)} ${HEIGHT}Z`;
    if (one) paths.push({ key: "area", name: "area", index, d: area });
    paths.push({ key: `line ${index}`, name: "", index, d: line });
  });
  each(self.lines, paths, path => path.key, () => svg("path", {}), (path, { name, index, d }) => {
    attribute(path, "class", `${name} s${index % 4}`.trim()); attribute(path, "d", d || "M0 0");
  });
  attribute(self.chart, "aria-label", `${self.label}, the last hour: ${series.map(item => `${item.name} ${item.now}`).join(", ")}`);
  drawFoot(self);
}
function drawFoot(self) {
  const { index, ages, series, restFoot } = self;
  if (index === null || index >= ages.length) {
    self.cursor.style.display = "none";
    text(self.foot, restFoot.text); attribute(self.foot, "class", `foot ${restFoot.level || ""}`.trim());
    return;
  }
  const across = place(ages[index], ages);
  self.cursor.style.display = "";
  attribute(self.cursor, "x1", across); attribute(self.cursor, "x2", across);
  const values = series.map(({ name, values, format }) => `${series.length > 1 ? `${name} ` : ""}${format(values[index])}`);
  text(self.foot, `${clock(new Date(Date.now() - ages[index] * 1000))}  ${values.join(" · ")}`);
  attribute(self.foot, "class", "foot");
}

const tiles = { in: tile("Taken from the broker"), out: tile("Delivered"), pending: tile("Pending"), journal: tile("Journal") };
$("flow").append(...Object.values(tiles).map(one => one.box));

// The present rates are those of the last ten seconds, from one status to another; the history is a sample behind.
const polls = [];
function notePoll(s) {
  const counts = Object.fromEntries(Object.entries(s.databases).map(([name, d]) => [name, d.next_seq]));
  polls.push({ at: performance.now(), next: s.journal.next_seq, counts });
  while (polls.length > 2 && polls[1].at < performance.now() - 10000) polls.shift();
}
function liveRate(count, values) {
  const first = polls[0], last = polls[polls.length - 1];
  const seconds = first ? (last.at - first.at) / 1000 : 0;
  if (seconds < 1.5) return values.length ? values[values.length - 1] : null;
  return Math.max(0, (count(last) - count(first)) / seconds);
}
const peak = lists => Math.max(0, ...lists.flat().filter(value => value !== null));
function drawFlow(s, h) {
  const names = Object.keys(h.databases), ages = h.seconds_ago;
  const isShort = ages.length > 1 && ages[0] < HOUR_S - 30;
  const peakText = (top, format) => ({ text: ages.length < 2 ? "first samples within 20 s" : `peak ${format(top)} · ${isShort ? span(ages[0]) : "1 h"}` });
  const inTop = peak([h.messages_per_second]);
  const outs = names.map(name => h.databases[name].messages_per_second), outTop = peak(outs);
  const waits = names.map(name => h.databases[name].pending), waitTop = peak(waits);
  drawTile(tiles.in, ages, [{ name: "in", values: h.messages_per_second, format: rate, now: rate(liveRate(poll => poll.next, h.messages_per_second)) }], inTop, peakText(inTop, rate));
  drawTile(tiles.out, ages, names.map((name, i) => ({ name, values: outs[i], format: rate, now: rate(liveRate(poll => poll.counts[name] || 0, outs[i])) })), outTop, peakText(outTop, rate));
  drawTile(tiles.pending, ages, names.map((name, i) => ({ name, values: waits[i], format: whole, now: s.databases[name] ? whole(s.databases[name].pending) : "–" })), waitTop, peakText(waitTop, whole));
  const left = h.journal_full_in_seconds, full = fullText(h);
  const foot = s.journal.paused ? { text: "takes no messages", level: "bad" }
    : full ? { text: full, level: left < URGENT_S ? "bad" : "warn" }
    : { text: h.undelivered_bytes > 1024 * 1024 ? `${bytes(h.undelivered_bytes)} not delivered` : "nothing piles up" };
  const share = 100 * s.journal.bytes / Math.max(1, s.journal.max_bytes);
  const now = `${share < 1 && share > 0 ? "< 1" : whole(share)} % of ${bytes(s.journal.max_bytes)}`;
  drawTile(tiles.journal, ages, [{ name: "fill", values: h.journal_bytes, format: bytes, now }], h.journal_max_bytes, foot);
}

// ---- Broker and databases.

const PILLS = { held: ["bad", "held"], down: ["warn", "not connected"], parked: ["bad", "connected, rules parked"], connected: ["good", "connected"] };
function card() {
  const name = make("h3"), pill = make("span", "pill"), facts = make("dl"), lines = make("ol", "lines");
  const box = make("div", "card", make("div", "head", name, pill), facts, lines);
  return Object.assign(box, { parts: { name, pill, facts, lines } });
}
function drawCard(box, { name, level, state, facts, lines }, seen) {
  const { parts } = box;
  text(parts.name, name);
  text(parts.pill, seen ? "unknown" : state); attribute(parts.pill, "data-level", seen ? "off" : level);
  each(parts.facts, facts.filter(([, value]) => value).flatMap(([label, value]) => [[`${label} t`, "dt", label], [`${label} d`, "dd", value]]),
    ([key]) => key, ([, tag]) => make(tag), (cell, [, , value]) => text(cell, value));
  show(parts.lines, lines.length);
  each(parts.lines, lines, line => line.left, () => {
    const left = make("span"), right = make("span", "right");
    return Object.assign(make("li", "", left, right), { parts: { left, right } });
  }, (item, line) => { text(item.parts.left, line.left); text(item.parts.right, line.right); attribute(item, "data-level", line.level); });
}
function brokerCard(s, seen) {
  const m = s.mqtt;
  const filters = m.subscriptions.slice(0, 12).map(one => {
    const isLess = one.qos_granted !== null && one.qos_granted < one.qos_asked;
    const granted = one.error || !m.connected ? one.error || "" : one.qos_granted === null ? "not answered yet" : isLess ? `QoS ${one.qos_granted}, asked for ${one.qos_asked}` : `QoS ${one.qos_granted}`;
    return { left: one.filter, right: granted, level: one.error ? "bad" : isLess ? "warn" : null };
  });
  if (m.subscriptions.length > 12) filters.push({ left: `and ${whole(m.subscriptions.length - 12)} more topic filters`, right: "" });
  return {
    key: "broker", name: "Broker", level: m.connected ? "good" : "bad", state: m.connected ? "connected" : "not connected",
    facts: [["address", m.url], [seen ? "last seen" : "since", seen ? clock(seen) : m.since && `${at(m.since)} (${span(ago(m.since))})`],
      ["session", m.sessions_lost ? `lost ${plural(m.sessions_lost, "time")}` : null],
      ["no rule took", s.unmatched ? plural(s.unmatched, "message") : null]],
    lines: filters,
  };
}
function databaseCard(name, d, seen) {
  const state = databaseState(d), [level, words] = PILLS[state];
  const from = state === "held" ? d.held.since : d.since;
  return {
    key: `database ${name}`, name: `Database ${name}`, level, state: words,
    facts: [[seen ? "last seen" : "since", seen ? clock(seen) : from && `${at(from)} (${span(ago(from))})`],
      ["pending", d.pending ? `${plural(d.pending, "message")}${d.oldest_pending_seconds >= 1 ? `, the oldest ${span(d.oldest_pending_seconds)} old` : ""}` : "nothing"],
      // What holds it or keeps it away stands in the banner.
      ["error", state === "held" || state === "down" ? null : d.last_error],
      ["no row", [d.dead_lettered && plural(d.dead_lettered, "dead letter"), d.dropped && `${whole(d.dropped)} dropped`, d.rows_swallowed && `${plural(d.rows_swallowed, "row")} ignored by tables`].filter(Boolean).join(", ")]],
    lines: d.parked.slice(0, 12).map(parked => ({ left: `rule ${parked.rule}`, right: `${plural(parked.messages, "message")} parked, table ${parked.table}`, level: "bad" })),
  };
}
function drawPeers(s, seen) {
  const cards = [brokerCard(s, seen), ...Object.entries(s.databases).map(([name, d]) => databaseCard(name, d, seen))];
  each($("peers"), cards, one => one.key, card, (box, one) => drawCard(box, one, seen));
}

// ---- Rules and refused messages.

const COLUMNS = [["matched", "matched"], ["written", "written"], ["rows", "rows"], ["dead_lettered", "dead letters"], ["dropped", "dropped"], ["filtered", "filtered"]];
function drawRules(s) {
  const table = document.querySelector("#rules table");
  show($("rules"), s.rules.length);
  attribute(table, "class", Object.keys(s.databases).length === 1 ? "one" : null);
  const parked = new Map();
  const place = (database, rule) => `${database} ${rule}`;
  for (const [name, d] of Object.entries(s.databases)) for (const one of d.parked) parked.set(place(name, one.rule), one);
  const isNoted = rule => parked.has(place(rule.database, rule.rule)) || rule.last_error;
  let rules = s.rules;
  if (rules.length > RULES_MAX) rules = [...rules.filter(isNoted), ...rules.filter(rule => !isNoted(rule))].slice(0, RULES_MAX);
  table.tHead.classList.add("list-begin");
  each(table, rules, rule => place(rule.database, rule.rule), () => {
    const name = make("td", "name"), database = make("td", "database"), cells = COLUMNS.map(([, label]) => { const td = make("td"); td.dataset.label = label; return td; });
    const mark = make("b"), words = make("span"), note = make("tr", "note", make("td", "", mark, words));
    note.firstChild.colSpan = 2 + COLUMNS.length;
    database.dataset.label = "in";
    return Object.assign(make("tbody", "", make("tr", "", name, database, ...cells), note), { parts: { name, database, cells, mark, words, note } });
  }, (body, rule) => {
    const { name, database, cells, mark, words, note } = body.parts;
    text(name, rule.rule); text(database, rule.database);
    COLUMNS.forEach(([field], i) => {
      text(cells[i], whole(rule[field]));
      const isBad = (field === "dead_lettered" || field === "dropped") && rule[field] > 0;
      attribute(cells[i], "class", isBad ? "some" : rule[field] === 0 ? "zero" : null);
    });
    const wait = parked.get(place(rule.database, rule.rule)), last = rule.last_error;
    show(note, wait || last || rule.rows_swallowed);
    attribute(mark, "class", wait ? "bad" : null);
    text(mark, wait ? `parked since ${at(wait.since)}: ` : last ? `${at(last.at)} ${last.reason}: ` : "");
    const swallowed = rule.rows_swallowed ? ` ${plural(rule.rows_swallowed, "row")} ignored by the table without an error.` : "";
    text(words, wait ? `${plural(wait.messages, "message")}, until table ${wait.table} is mended` : last ? `${last.error}${swallowed}` : swallowed.trim());
  });
  const more = s.rules.length - rules.length;
  show($("more-rules"), more > 0);
  text($("more-rules"), `and ${whole(more)} more rules: rowbridge status shows all`);
}
function drawRefused(s) {
  show($("refused"), s.refused.length);
  each($("refusals"), s.refused, one => `${one.database} ${one.rule} ${one.reason} ${one.list ? 1 : 0}`, () => {
    const time = make("span"), whose = make("b"), reason = make("span"), topic = make("span"), error = make("p"), copy = copyable("Copy the command that shows them");
    return Object.assign(make("li", "", make("div", "meta", time, whose, reason, topic), error, copy), { parts: { time, whose, reason, topic, error, copy } });
  }, (item, one) => {
    const { time, whose, reason, topic, error, copy } = item.parts;
    text(time, at(one.at));
    text(whose, one.rule === "-" ? "no rule" : one.rule);
    text(reason, `${plural(one.total, "message")} ${one.list ? "" : "dropped "}(${one.reason}) in ${one.database}`);
    text(topic, one.topic);
    text(error, one.error);
    text(copy.pre, one.list); show(copy, one.list);
  });
}

// ---- The whole, again and again.

let last = null, lastHistory = null, lastSeen = null, historyDue = 0;
const COLORS = { good: "%2316703f", warn: "%23b07000", bad: "%23c22b23" };
function draw(problems, isGone) {
  drawProblems(problems);
  attribute($("icon"), "href", `data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='${COLORS[problems[0].level]}'/></svg>`);
  const words = problems[0].level === "good" ? "" : `${problems[0].title} – `;
  const title = `${words}${last ? `${last.bridge} – ` : ""}Rowbridge`;
  if (document.title !== title) document.title = title;
  if (!last) return;
  text($("bridge"), last.bridge);
  text($("about"), `${last.version} · ${isGone ? `last seen ${clock(lastSeen)}` : `up ${span(last.uptime_seconds)} · read ${clock(lastSeen)}`}`);
  if (lastHistory) drawFlow(last, lastHistory);
  drawPeers(last, isGone ? lastSeen : null);
  drawRules(last);
  drawRefused(last);
}
async function read(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}
async function look() {
  let why = null;
  try {
    const status = await read("status");
    if (performance.now() >= historyDue) {
      lastHistory = await read("history");
      historyDue = performance.now() + HISTORY_MS;
    }
    // Another version has another page.
    if (last && last.version !== status.version) location.reload();
    last = status; lastSeen = new Date();
    notePoll(status);
  } catch (error) {
    why = error.name === "TimeoutError" ? `No answer within ${TIMEOUT_MS / 1000} s` : error instanceof TypeError ? "The connection is refused or cut" : error.message;
    polls.length = 0; historyDue = 0;
  }
  draw(why ? gone(lastSeen, why) : problemsOf(last, lastHistory), !!why);
}
let timer;
async function run() {
  clearTimeout(timer);
  try { await look(); }
  catch (error) {
    console.error(error);
    drawProblems([{ level: "bad", key: "page", title: "This page has failed", why: String(error), todo: "Load it again; rowbridge status shows the same on a terminal." }]);
  }
  timer = setTimeout(run, document.hidden ? POLL_HIDDEN_MS : POLL_MS);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) { clearTimeout(timer); timer = setTimeout(run, 0); } });
run();
