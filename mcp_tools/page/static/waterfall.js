// The waterfall: all rows of a trace from its columns, of which only those in sight are elements. Keys: arrows walk and
// fold, Enter opens, e goes to the next failure, n to the next hit of the search.
import { part, remember } from "./page.js";

const ROW = 24; // px, as the stylesheet has it
const SPARE = 12; // rows beyond the edges
const COLOURS = 10;
const ERROR = 1, ORPHAN = 2, LOOPED = 4, CRITICAL = 8, SKEWED = 16;
const SVG = "http://www.w3.org/2000/svg";

const place = document.getElementById("waterfall");
const params = new URL(location.href).searchParams;

function took(us) {
  if (us >= 1e6) return `${three(us / 1e6)} s`;
  if (us >= 1e3) return `${three(us / 1e3)} ms`;
  return us ? `${us} µs` : "< 1 µs";
}
function three(n) { return n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2); }

// What cannot be seen is named, as the server does it.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0]/gu;
function seen(text) {
  return text.replace(HIDDEN, (c) => (c === "\n" ? "⏎" : c === "\t" ? " " : `⟨${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`));
}

class Waterfall {
  constructor(data, list) {
    this.data = data;
    this.list = list;
    this.count = data.name.length;
    this.folded = new Set();
    this.withLogs = params.get("logs") !== "off";
    this.chosen = place.dataset.span;
    this.logs = new Map();
    for (const log of data.logs) {
      if (!this.logs.has(log[0])) this.logs.set(log[0], []);
      this.logs.get(log[0]).push(log);
    }
    this.critical = new Map();
    for (const [row, from, to] of data.critical) {
      if (!this.critical.has(row)) this.critical.set(row, []);
      this.critical.get(row).push([from, to]);
    }
    this.hits = new Set();
    for (const id of (params.get("fold") ?? "").split(".")) {
      const row = id ? this.rowOf(id) : -1;
      if (row >= 0) this.folded.add(row);
    }
    this.at = this.chosen ? this.rowOf(this.chosen) : 0;
    this.arrange();
    list.addEventListener("scroll", () => this.soon());
    new ResizeObserver(() => this.soon()).observe(list);
    list.addEventListener("click", (event) => this.click(event));
    list.addEventListener("keydown", (event) => this.key(event));
  }

  id(row) { return this.data.ids.slice(row * 16, row * 16 + 16); }
  rowOf(id) {
    for (let at = this.data.ids.indexOf(id); at >= 0; at = this.data.ids.indexOf(id, at + 1)) if (at % 16 === 0) return at / 16;
    return -1;
  }
  hasChildren(row) { return row + 1 < this.count && this.data.depth[row + 1] > this.data.depth[row]; }

  // Which rows stand below each other now: numbers of spans, and log records in their span.
  arrange() {
    const lines = [];
    const depth = this.data.depth;
    this.line = new Int32Array(this.count).fill(-1);
    for (let row = 0; row < this.count; ) {
      this.line[row] = lines.length;
      lines.push(row);
      if (this.withLogs) for (const log of this.logs.get(row) ?? []) lines.push(log);
      if (this.folded.has(row)) {
        const level = depth[row];
        row += 1;
        while (row < this.count && depth[row] > level) row += 1;
      } else row += 1;
    }
    if (this.withLogs) for (const log of this.logs.get(-1) ?? []) lines.push(log);
    this.lines = lines;
    this.space ??= this.list.appendChild(Object.assign(document.createElement("li"), { className: "w-space" }));
    this.space.setAttribute("role", "none");
    this.space.style.height = `${lines.length * ROW}px`;
    this.shown = new Map();
    for (const old of this.list.querySelectorAll(".w")) old.remove();
    this.draw();
  }

  soon() { this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); }); }

  draw() {
    const first = Math.max(0, Math.floor(this.list.scrollTop / ROW) - SPARE);
    const last = Math.min(this.lines.length, Math.ceil((this.list.scrollTop + this.list.clientHeight) / ROW) + SPARE);
    for (const [n, element] of this.shown) {
      if (n < first || n >= last) { element.remove(); this.shown.delete(n); }
    }
    const fresh = document.createDocumentFragment();
    for (let n = first; n < last; n += 1) {
      if (this.shown.has(n)) continue;
      const line = this.lines[n];
      const element = typeof line === "number" ? this.span(line) : this.log(line);
      element.style.transform = `translateY(${n * ROW}px)`;
      this.shown.set(n, element);
      fresh.append(element);
    }
    this.list.append(fresh);
  }

  span(row) {
    const { data } = this;
    const flags = data.flags[row];
    const item = document.createElement("li");
    const name = seen(data.names[data.name[row]]);
    const who = seen(data.components[data.component[row]]);
    item.className = `w k${data.component[row] % COLOURS}`;
    item.id = `w${row}`;
    item.setAttribute("role", "treeitem");
    item.setAttribute("aria-level", data.depth[row] + 1);
    item.setAttribute("aria-selected", String(this.chosen === this.id(row)));
    if (flags & ERROR) item.classList.add("bad");
    if (this.chosen === this.id(row)) item.classList.add("chosen");
    if (this.at === row) item.classList.add("at");
    if (this.hits.has(row)) item.classList.add("hit");
    const label = document.createElement("span");
    label.className = `w-name d${Math.min(data.depth[row], 24)}`;
    const twist = document.createElement("span");
    twist.className = "twist";
    if (this.hasChildren(row)) {
      twist.textContent = this.folded.has(row) ? "▸" : "▾";
      item.setAttribute("aria-expanded", String(!this.folded.has(row)));
    }
    const component = document.createElement("span");
    component.className = "w-comp";
    component.textContent = who;
    label.append(twist, component, ` ${name}`);
    const told = [];
    if (flags & ERROR) told.push("failed");
    if (flags & ORPHAN) told.push("parent not stored");
    if (flags & LOOPED) told.push("its parents lead back to it");
    if (flags & SKEWED) told.push("clock moved");
    if (told.length) {
      const mark = document.createElement("b");
      mark.className = flags & ERROR ? "exc" : "dim";
      mark.textContent = ` ${told.join(", ")}`;
      label.append(mark);
    }
    const message = data.messages[row];
    label.title = `${who} ${name}${message ? `\n${seen(message)}` : ""}${flags & CRITICAL ? "\non the critical path" : ""}`;
    const time = document.createElement("span");
    time.className = "w-took";
    time.textContent = took(data.took[row]);
    item.append(label, this.track(row), time);
    return item;
  }

  track(row) {
    const { data } = this;
    const whole = data.duration_us || 1;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "track");
    svg.setAttribute("aria-hidden", "true");
    const rect = (name, from, length, y, height) => {
      const element = document.createElementNS(SVG, "rect");
      element.setAttribute("class", name);
      element.setAttribute("x", `${(100 * from) / whole}%`);
      element.setAttribute("width", `${(100 * length) / whole}%`);
      element.setAttribute("y", y);
      element.setAttribute("height", height);
      if (name === "bar") element.setAttribute("rx", 2);
      svg.append(element);
    };
    rect("bar", data.start[row], data.took[row], 5, 12);
    for (const [from, to] of this.critical.get(row) ?? []) rect("crit", from, to - from, 18, 2);
    for (const log of this.logs.get(row) ?? []) {
      const dot = document.createElementNS(SVG, "circle");
      dot.setAttribute("class", `g-${log[2]}`);
      dot.setAttribute("cx", `${(100 * log[1]) / whole}%`);
      dot.setAttribute("cy", 11);
      dot.setAttribute("r", 2.5);
      svg.append(dot);
    }
    return svg;
  }

  log(log) {
    const item = document.createElement("li");
    const depth = log[0] < 0 ? 0 : this.data.depth[log[0]] + 1;
    item.className = `w w-log l-${log[2]}`;
    item.setAttribute("role", "treeitem");
    item.setAttribute("aria-level", depth + 1);
    item.dataset.record = log[5];
    const label = document.createElement("span");
    label.className = `w-name d${Math.min(depth, 24)}`;
    const twist = document.createElement("span");
    twist.className = "twist";
    const level = document.createElement("span");
    level.className = "lvl";
    level.textContent = log[2].toUpperCase();
    label.append(twist, level, ` ${log[0] < 0 ? `${seen(this.data.components[log[3]])} ` : ""}${seen(log[4])}`);
    label.title = seen(log[4]);
    item.append(label);
    return item;
  }

  click(event) {
    const item = event.target.closest(".w");
    if (!item) return;
    if (item.dataset.record) { location.href = `/record/${item.dataset.record}`; return; }
    const row = Number(item.id.slice(1));
    if (event.target.closest(".twist") && this.hasChildren(row)) this.toggle(row);
    else this.choose(row);
  }

  key(event) {
    const row = this.at;
    if (event.key === "ArrowDown" || event.key === "j") this.walk(1);
    else if (event.key === "ArrowUp" || event.key === "k") this.walk(-1);
    else if (event.key === "Home") this.go(0);
    else if (event.key === "End") this.go(this.lastShown());
    else if (event.key === "ArrowLeft") {
      if (this.hasChildren(row) && !this.folded.has(row)) this.toggle(row);
      else this.go(this.parent(row));
    } else if (event.key === "ArrowRight") {
      if (this.folded.has(row)) this.toggle(row);
      else this.walk(1);
    } else if (event.key === "Enter" || event.key === " ") this.choose(row);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  lastShown() { for (let row = this.count - 1; row >= 0; row -= 1) if (this.line[row] >= 0) return row; return 0; }
  parent(row) { let up = row; while (up > 0 && this.data.depth[up] >= this.data.depth[row]) up -= 1; return up; }
  walk(step) { for (let row = this.at + step; row >= 0 && row < this.count; row += step) if (this.line[row] >= 0) { this.go(row); return; } }

  // Unfolds what hides a row, brings it into sight and makes it the one that keys are about.
  go(row) {
    if (row < 0 || row >= this.count) return;
    if (this.line[row] < 0) {
      for (let up = this.parent(row); ; up = this.parent(up)) {
        this.folded.delete(up);
        if (this.data.depth[up] === 0 || up === 0) break;
      }
      this.arrange();
    }
    this.list.querySelector(".at")?.classList.remove("at");
    this.at = row;
    const top = this.line[row] * ROW;
    if (top < this.list.scrollTop || top + 2 * ROW > this.list.scrollTop + this.list.clientHeight) {
      this.list.scrollTop = Math.max(0, top - this.list.clientHeight / 2);
    }
    this.draw();
    document.getElementById(`w${row}`)?.classList.add("at");
    this.list.setAttribute("aria-activedescendant", `w${row}`);
  }

  toggle(row) {
    if (this.folded.has(row)) this.folded.delete(row);
    else this.folded.add(row);
    this.keepFolds();
    const top = this.list.scrollTop;
    this.arrange();
    this.list.scrollTop = top;
  }

  keepFolds() {
    const ids = [...this.folded].map((row) => this.id(row));
    remember({ fold: ids.length && ids.length <= 40 ? ids.join(".") : null });
  }

  async choose(row) {
    this.go(row);
    const id = this.id(row);
    this.chosen = id;
    this.list.querySelector(".chosen")?.classList.remove("chosen");
    document.getElementById(`w${row}`)?.classList.add("chosen");
    remember({ span: id });
    await show(id);
  }

  find(text) {
    this.hits.clear();
    const wanted = text.trim().toLowerCase();
    if (wanted) {
      const of = (words) => new Set(words.flatMap((word, n) => (word.toLowerCase().includes(wanted) ? [n] : [])));
      const names = of(this.data.names), components = of(this.data.components);
      for (let row = 0; row < this.count; row += 1) {
        if (names.has(this.data.name[row]) || components.has(this.data.component[row]) || this.id(row) === wanted) this.hits.add(row);
      }
      for (const log of this.data.logs) if (log[0] >= 0 && log[4].toLowerCase().includes(wanted)) this.hits.add(log[0]);
      for (const [row, message] of Object.entries(this.data.messages)) if (message.toLowerCase().includes(wanted)) this.hits.add(Number(row));
    }
    document.getElementById("found").textContent = wanted ? `${this.hits.size.toLocaleString()} spans  ( n )` : "";
    remember({ find: wanted ? text : null });
    this.arrange();
    if (this.hits.size && !this.hits.has(this.at)) this.next((row) => this.hits.has(row));
  }

  next(test) {
    for (let step = 1; step <= this.count; step += 1) {
      const row = (this.at + step) % this.count;
      if (test(row)) { this.go(row); return; }
    }
  }
}

let asked = 0;
async function show(id) {
  const mine = (asked += 1);
  const content = await part(`/trace/${place.dataset.trace}/span/${id}`);
  if (!content || mine !== asked) return;
  document.getElementById("split").classList.add("has-detail");
  document.getElementById("detail").replaceChildren(...content.querySelector("#span-part").childNodes);
}

async function start() {
  const answer = await fetch(place.dataset.shape);
  if (!answer.ok) return;
  const data = await answer.json();
  const list = document.createElement("ol");
  list.className = "wf live";
  list.setAttribute("role", "tree");
  list.setAttribute("aria-label", "Spans and log records");
  list.tabIndex = 0;
  place.querySelector(".wf").replaceWith(list);
  document.getElementById("left-out")?.remove();
  const view = new Waterfall(data, list);
  if (view.at > 0) view.go(view.at);
  document.body.classList.add("scripted");
  if (data.spans_left_out) {
    const note = document.createElement("p");
    note.className = "hint";
    note.textContent = `${data.spans_left_out.toLocaleString()} spans more are stored and not drawn.`;
    place.append(note);
  }
  wire(view, list);
}

function wire(view, list) {
  const find = document.getElementById("find");
  let waiting = null;
  find.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => view.find(find.value), 120); });
  find.addEventListener("keydown", (event) => { if (event.key === "Enter") { view.next((row) => view.hits.has(row)); event.preventDefault(); } });
  if (find.value) view.find(find.value);
  const failed = (row) => view.data.flags[row] & ERROR;
  document.getElementById("next-error").addEventListener("click", () => { view.next(failed); list.focus(); });
  document.getElementById("fold").addEventListener("click", (event) => {
    const all = view.folded.size === 0;
    view.folded.clear();
    if (all) for (let row = 0; row < view.count; row += 1) if (view.data.depth[row] > 0 && view.hasChildren(row)) view.folded.add(row);
    event.target.textContent = all ? "Expand all" : "Collapse all";
    view.keepFolds();
    view.arrange();
  });
  const logs = document.getElementById("with-logs");
  logs.addEventListener("click", () => {
    view.withLogs = !view.withLogs;
    logs.setAttribute("aria-pressed", String(view.withLogs));
    remember({ logs: view.withLogs ? null : "off" });
    view.arrange();
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-span]");
    const row = link ? view.rowOf(link.dataset.span) : -1;
    if (row < 0 || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    view.choose(row);
  });
  document.addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || event.target.closest("input, select, textarea")) return;
    if (event.key === "e") view.next(failed);
    else if (event.key === "n" && view.hits.size) view.next((row) => view.hits.has(row));
  });
}

start();
