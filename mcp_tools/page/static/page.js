// What every view shares: rows that open in place, parts that come later, keys. All of it also works as plain links.

// The one place where text becomes HTML: answers of this server, made by its own templates.
const policy = globalThis.trustedTypes?.createPolicy("otel-ingest", { createHTML: (html) => html });

export function nodes(html) {
  const template = document.createElement("template");
  template.innerHTML = policy ? policy.createHTML(html) : html;
  return template.content;
}

export async function part(url, signal) {
  const answer = await fetch(url, { headers: { "X-Part": "main", Accept: "text/html" }, signal });
  if (answer.status === 401) { location.reload(); return null; }
  return nodes(await answer.text());
}

export function remember(changes) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  history.replaceState(null, "", url);
}

// A record opens below its row.
async function toggle(link) {
  const row = link.closest(".row");
  const below = row.nextElementSibling;
  if (below?.classList.contains("opened")) {
    below.remove();
    link.removeAttribute("aria-expanded");
    remember({ record: null });
    return;
  }
  link.setAttribute("aria-expanded", "true");
  const item = document.createElement("li");
  item.className = "opened";
  row.after(item);
  const content = await part(link.href);
  const detail = content?.querySelector(".detail") ?? content?.querySelector(".card");
  if (detail) item.append(detail);
  else item.remove();
  remember({ record: row.dataset.id });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.(".rows .row > .msg");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  if (link.closest(".rows").dataset.plain !== undefined) return;
  event.preventDefault();
  toggle(link);
});

// A form that asks leaves out what is empty: the URL is what one sends to others.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "get") return;
  for (const input of event.target.querySelectorAll("input[name]")) if (!input.value) input.disabled = true;
});
addEventListener("pageshow", () => { for (const input of document.querySelectorAll("form input:disabled")) input.disabled = false; });

// Parts that were not ready when the page was sent.
export async function load(place) {
  const content = await part(place.dataset.load);
  if (!content) return;
  const fresh = content.firstElementChild;
  place.replaceWith(fresh);
  document.dispatchEvent(new CustomEvent("part", { detail: fresh }));
}
for (const place of document.querySelectorAll("[data-load]")) load(place);

// Keys: / searches, j and k walk the rows, Enter opens (it is a link), t tails, g and a letter changes the view.
const VIEWS = { l: "/logs", t: "/traces", c: "/components", p: "/patterns", o: "/operations" };
let chord = 0;
document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey) return;
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "Escape") {
    if (typing) typing.blur();
    for (const open of document.querySelectorAll("details[open]")) open.open = false;
    return;
  }
  if (typing) return;
  if (chord && Date.now() - chord < 1000 && VIEWS[event.key]) { chord = 0; location.href = VIEWS[event.key]; return; }
  chord = 0;
  if (event.key === "g") chord = Date.now();
  else if (event.key === "/") { event.preventDefault(); document.querySelector("input[type=search]")?.select(); document.querySelector("input[type=search]")?.focus(); }
  else if (event.key === "t") document.getElementById("tail")?.click();
  else if (event.key === "j" || event.key === "k") walk(event.key === "j" ? 1 : -1);
});

function walk(step) {
  const links = [...document.querySelectorAll(".rows .row > .msg")];
  if (!links.length) return;
  const at = links.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1);
  links[next].focus();
  links[next].scrollIntoView({ block: "nearest" });
}

// Menus close when one looks elsewhere.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.menu[open], details.custom[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});
