
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const count = (n) => n.toLocaleString("en-US");
  const bytes = (n) => {
    if (n < 1024) return n + " B";
    const units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let at = -1;
    do { n /= 1024; at += 1; } while (n >= 1024 && at < units.length - 1);
    return (n < 10 ? n.toFixed(1) : Math.round(n)) + " " + units[at];
  };
  const time = (ns) => ns < 1e6 ? Math.round(ns / 1e3) + " µs"
    : ns < 1e9 ? +(ns / 1e6).toPrecision(3) + " ms" : +(ns / 1e9).toPrecision(3) + " s";
  const make = (tag, properties, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };
  const refusedWord = data.dry ? "would be refused" : "refused";

  // Head.
  if (data.guest) {
    byId("title").textContent = data.guest;
    document.title = data.guest + ": recorded operations";
  }
  const facts = [];
  if (data.policy) facts.push((data.dry ? "dry run of " : "under ") + data.policy);
  else if (data.dry) facts.push("dry run");
  if (data.runs > 1) facts.push(count(data.runs) + " runs");
  if (data.started) facts.push(data.started);
  if (data.release) facts.push("palisade " + data.release);
  if (data.filter) facts.push("recorded: " + data.filter);
  byId("subtitle").textContent = facts.join(" · ");
  if (data.dry) byId("h-refused").textContent = "Would be refused";
  const [allowed, denied, hidden, read, written] = data.total;
  const tile = (value, label, kind) =>
    byId("tiles").append(make("div", { className: "tile" },
      make("b", { className: kind || "" }, value), make("span", {}, label)));
  tile(count(allowed), "allowed", "allow");
  tile(count(denied), data.dry ? "would be denied" : "denied", denied ? "deny" : "");
  tile(count(hidden), data.dry ? "would be hidden" : "hidden", hidden ? "hide" : "");
  tile(bytes(read), "read");
  tile(bytes(written), "written");

  // Over time.
  const svg = (tag, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const drawTime = () => {
    const [width, height, left, bottom, top] = [1000, 170, 52, 26, 16];
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    picture.append(svg("title", {}, `${count(allowed)} allowed, ${count(denied + hidden)} `
      + `${refusedWord}, over ${time(data.columns.length * data.columnNanos)}`));
    const tallest = Math.max(1, ...data.columns.map((c) => c[0] + c[1] + c[2]));
    const room = height - bottom - top;
    const step = (width - left - 16) / Math.max(1, data.columns.length);
    const line = (y) => picture.append(
      svg("line", { x1: left, x2: width - 16, y1: y, y2: y, class: "axis" }));
    line(top); line(height - bottom);
    picture.append(svg("text", { x: left - 8, y: top + 4, "text-anchor": "end" }, count(tallest)));
    picture.append(svg("text", { x: left - 8, y: height - bottom, "text-anchor": "end" }, "0"));
    data.columns.forEach((column, at) => {
      let y = height - bottom;
      [["allow", 0], ["deny", 1], ["hide", 2]].forEach(([kind, which]) => {
        if (!column[which]) return;
        // What was refused is seen, however little it is.
        const tall = Math.max(column[which] / tallest * room, which ? 3 : 1);
        y -= tall;
        const bar = svg("rect", { x: left + at * step, y, height: tall,
          width: Math.max(1, step - (step > 4 ? 1 : 0)), class: "f-" + kind });
        bar.append(svg("title", {}, `${time(at * data.columnNanos)}: ${count(column[which])} `
          + ["allowed", "denied", "hidden"][which]));
        picture.append(bar);
      });
    });
    const end = data.columns.length * data.columnNanos;
    [0, .25, .5, .75, 1].forEach((part) => picture.append(svg("text", {
      x: left + part * (width - left - 16), y: height - 8,
      "text-anchor": part === 0 ? "start" : part === 1 ? "end" : "middle" }, time(end * part))));
    byId("time").append(picture);
  };
  drawTime();

  // Tables.
  const fill = (table, heads, rows, empty) => {
    if (!rows.length) {
      table.append(make("tbody", {}, make("tr", {}, make("td", { className: "note" }, empty))));
      return;
    }
    table.append(make("thead", {}, make("tr", {}, ...heads.map(([text, kind]) =>
      make("th", { className: kind === "n" ? "n" : "", scope: "col" }, text)))));
    table.append(make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, at) =>
      make("td", { className: [heads[at][1], cell.kind].filter(Boolean).join(" ") },
        cell.kind ? cell.text : cell))))));
  };
  const told = { "deny": "deny", "would-deny": "deny", "hide": "hide", "would-hide": "hide" };
  fill(byId("refused"),
    [["path", "path"], ["operation", "nowrap"], ["decision", "nowrap"], ["missing"],
      ["decided by", "nowrap"], ["times", "n"]],
    data.refusals.slice().sort((a, b) => b[0] - a[0]).map(
      ([times, path, to, operation, decision, missing, rule]) => [
        to ? path + " → " + to : path, operation, { text: decision, kind: told[decision] },
        missing, rule, count(times)]),
    "Nothing was refused.");
  const sums = (rows) => rows.slice()
    .sort((a, b) => (b[1] + b[2] + b[3]) - (a[1] + a[2] + a[3]))
    .map(([name, yes, no, hid]) => [name, count(yes),
      no + hid ? { text: count(no + hid), kind: no ? "deny" : "hide" } : "0"]);
  const heads = (name) => [[name, "path"], ["allowed", "n"], [refusedWord, "n"]];
  fill(byId("rules"), heads("rule"), sums(data.rules), "No rule decided anything.");
  fill(byId("ops"), heads("operation"), sums(data.operations), "Nothing was asked for.");

  // The tree. Sums of a directory hold those of what lies beneath.
  const root = { name: "/", path: "/", below: new Map(), own: [0, 0, 0, 0, 0], depth: 0 };
  for (const [path, ...own] of data.paths) {
    let node = root;
    for (const name of path.split("/")) {
      if (!name) continue;
      if (!node.below.has(name)) {
        node.below.set(name, { name, path: (node === root ? "" : node.path) + "/" + name,
          below: new Map(), own: [0, 0, 0, 0, 0], depth: node.depth + 1, above: node });
      }
      node = node.below.get(name);
    }
    node.own = own;
  }
  const all = [];
  const pending = [root];
  while (pending.length) {
    const node = pending.pop();
    all.push(node);
    node.sums = node.own.slice();
    pending.push(...node.below.values());
  }
  for (let at = all.length - 1; at > 0; at -= 1) {
    all[at].sums.forEach((sum, which) => { all[at].above.sums[which] += sum; });
  }
  const isRefused = (node) => node.sums[1] + node.sums[2] > 0;
  all.forEach((node) => { node.open = node.depth < 2 || (isRefused(node) && node.depth < 4); });
  const ROWS_MAX = 2000;
  const tree = byId("tree");
  let shown = [];
  const draw = (focused) => {
    const wanted = byId("find").value.toLowerCase();
    const only = byId("only").checked;
    let keep = null;
    if (wanted || only) {
      keep = new Set();
      for (const node of all) {
        if (wanted && !node.path.toLowerCase().includes(wanted)) continue;
        if (only && !isRefused(node)) continue;
        for (let at = node; at && !keep.has(at); at = at.above) keep.add(at);
      }
    }
    shown = [];
    const open = [root];
    while (open.length && shown.length < ROWS_MAX) {
      const node = open.pop();
      if (keep && !keep.has(node)) continue;
      shown.push(node);
      if (node.open || wanted) {
        const names = [...node.below.values()].sort((a, b) => a.name < b.name ? 1 : -1);
        for (const child of names) open.push(child);
      }
    }
    tree.replaceChildren(...shown.map((node, at) => row(node, at)));
    const cut = open.length ? ` Only the first ${count(ROWS_MAX)} lines are shown.` : "";
    const folded = data.folded
      ? `${count(data.folded)} events found no line of their own and count for the directory above.` : "";
    byId("note").textContent = folded + cut;
    if (focused) tree.children[Math.max(0, shown.indexOf(focused))].focus();
  };
  const number = (value, text, kind) =>
    make("span", { className: value ? kind || "" : "zero" }, value ? text : "0");
  const row = (node, at) => {
    const folds = node.below.size > 0;
    const name = make("span", { className: "name" },
      make("span", { className: "fold", ariaHidden: "true" }, folds ? (node.open ? "▾" : "▸") : ""),
      node.name + (folds && node !== root ? "/" : ""));
    name.style.paddingLeft = Math.min(node.depth, 24) * 1.1 + "em";
    const [yes, no, hid, got, put] = node.sums;
    const item = make("div", { className: "row", tabIndex: at ? -1 : 0 }, name,
      number(yes, count(yes), "allow"), number(no + hid, count(no + hid), no ? "deny" : "hide"),
      number(got, bytes(got)), number(put, bytes(put)));
    item.setAttribute("role", "treeitem");
    item.setAttribute("aria-level", node.depth + 1);
    item.setAttribute("aria-label", `${node.path}: ${count(yes)} allowed, ${count(no + hid)} `
      + `${refusedWord}, ${bytes(got)} read, ${bytes(put)} written`);
    if (folds) item.setAttribute("aria-expanded", node.open);
    item.addEventListener("click", () => { if (folds) { node.open = !node.open; draw(node); } });
    return item;
  };
  tree.addEventListener("keydown", (event) => {
    const at = [...tree.children].indexOf(document.activeElement);
    const node = shown[at];
    if (!node) return;
    const go = (to) => tree.children[Math.min(Math.max(to, 0), shown.length - 1)].focus();
    const keys = {
      ArrowDown: () => go(at + 1), ArrowUp: () => go(at - 1), Home: () => go(0),
      End: () => go(shown.length - 1),
      ArrowRight: () => { if (node.below.size && !node.open) { node.open = true; draw(node); } else go(at + 1); },
      ArrowLeft: () => {
        if (node.below.size && node.open) { node.open = false; draw(node); }
        else if (node.above) go(shown.indexOf(node.above));
      },
      Enter: () => { if (node.below.size) { node.open = !node.open; draw(node); } },
      " ": () => keys.Enter(),
    };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  byId("find").addEventListener("input", () => draw());
  byId("only").addEventListener("change", () => draw());
  draw();
  document.documentElement.dataset.drawn = "yes";
})();
