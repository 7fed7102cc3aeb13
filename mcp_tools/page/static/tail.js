// The tail: records as they are stored, newest on top, while the button is pressed. State in the URL: tail=1.
import { nodes, remember } from "./page.js";

const ROWS_MAX = 1000; // rows kept on the page
const button = document.getElementById("tail");
const list = document.getElementById("rows");
const state = document.getElementById("tail-state");
let source = null;
let shown = 0;
// What is older than a full page stands on the next one.
const rows = list?.querySelectorAll(".row") ?? [];
const full = rows.length >= 100;
const oldest = full ? Date.parse(rows[rows.length - 1].querySelector("time").dateTime) * 1e6 : 0;

function say(text) { state.textContent = text; }

function start() {
  source = new EventSource(button.dataset.stream);
  button.setAttribute("aria-pressed", "true");
  say("following…");
  source.onopen = () => say("following");
  source.onerror = () => say(source?.readyState === EventSource.CLOSED ? "the tail ended; log in again" : "reconnecting…");
  source.onmessage = (event) => {
    const record = JSON.parse(event.data);
    if (document.getElementById(`r${record.id}`) || (full && record.time_ns < oldest)) return;
    const row = nodes(record.row).firstElementChild;
    row.classList.add("fresh");
    list.prepend(row);
    shown += 1;
    while (list.children.length > ROWS_MAX) list.lastElementChild.remove();
    say(`following · ${shown} new`);
  };
  source.addEventListener("skipped", (event) => {
    const item = document.createElement("li");
    item.className = "day";
    item.textContent = `${event.data} more came at once; search for them`;
    list.prepend(item);
  });
  source.addEventListener("over", () => { stop(); say("the session is over; log in again"); });
}

function stop() {
  source?.close();
  source = null;
  button.setAttribute("aria-pressed", "false");
  remember({ tail: null });
  say("");
}

// Starting is the link itself: a page made this moment, without a gap to what follows.
if (button && list) {
  button.addEventListener("click", (event) => {
    if (!source || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    stop();
  });
  if (button.getAttribute("aria-pressed") === "true") start();
  addEventListener("pagehide", () => source?.close());
}
