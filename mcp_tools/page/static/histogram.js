// The histogram zooms: by dragging, and by the keyboard (arrows choose, Shift widens, Enter zooms, Escape leaves).

function attach(plot) {
  const svg = plot.querySelector("svg");
  const selection = plot.querySelector(".selection");
  const slots = Number(plot.dataset.slots);
  const since = BigInt(plot.dataset.sinceNs);
  const width = BigInt(plot.dataset.intervalS) * 1000000000n;
  let from = null;
  let to = null;

  const draw = () => {
    const [a, b] = from === null ? [0, -1] : [Math.min(from, to), Math.max(from, to)];
    selection.setAttribute("x", a);
    selection.setAttribute("width", b - a + 1);
  };
  const moment = (slot) => {
    const ns = since + BigInt(slot) * width;
    return new Date(Number(ns / 1000000n)).toISOString();
  };
  const zoom = () => {
    if (from === null) return;
    const url = new URL(location.href);
    url.pathname = "/logs";
    url.searchParams.set("since", moment(Math.min(from, to)));
    url.searchParams.set("until", moment(Math.max(from, to) + 1));
    for (const name of ["cursor", "record", "tail"]) url.searchParams.delete(name);
    location.href = url;
  };
  const slotAt = (event) => {
    const box = svg.getBoundingClientRect();
    return Math.min(Math.max(Math.floor(((event.clientX - box.left) / box.width) * slots), 0), slots - 1);
  };

  let pressed = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    pressed = event.clientX;
    from = to = slotAt(event);
    svg.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  svg.addEventListener("pointermove", (event) => {
    if (pressed === null) return;
    to = slotAt(event);
    draw();
  });
  svg.addEventListener("pointerup", () => {
    if (pressed === null) return;
    pressed = null;
    zoom();
  });
  svg.addEventListener("pointercancel", () => { pressed = null; from = null; draw(); });
  svg.addEventListener("click", (event) => event.preventDefault());

  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -slots, End: slots }[event.key];
    if (step !== undefined) {
      const place = Math.min(Math.max((to ?? slots) + step, 0), slots - 1);
      to = place;
      if (!event.shiftKey || from === null) from = place;
      draw();
      event.preventDefault();
    } else if (event.key === "Enter") zoom();
    else if (event.key === "Escape") { from = to = null; draw(); }
  });
}

for (const plot of document.querySelectorAll(".plot[data-slots]")) attach(plot);
document.addEventListener("part", (event) => {
  const plot = event.detail.querySelector?.(".plot[data-slots]");
  if (plot) attach(plot);
});
