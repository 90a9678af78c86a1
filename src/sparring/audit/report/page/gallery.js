"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  const list = byId("gallery-list");
  if (!list) return;
  const cards = [...list.children];
  const shown = () => [...list.children].filter((card) => !card.hidden);

  // Filter and sort.
  const attack = byId("by-attack"), threat = byId("by-threat"), text = byId("by-text"), sort = byId("sort");

  function arrange() {
    const wanted = text.value.trim().toLowerCase();
    for (const card of cards) {
      card.hidden = Boolean(
        (attack.value && card.dataset.attack !== attack.value) ||
        (threat.value && card.dataset.threat !== threat.value) ||
        (wanted && !card.dataset.text.toLowerCase().includes(wanted)));
    }
    const key = sort.value.replace("-", ""), sign = sort.value.startsWith("-") ? -1 : 1;
    const rank = (card) => sign * Number(card.dataset[key]);
    list.append(...[...cards].sort((a, b) => rank(a) - rank(b) || a.dataset.order - b.dataset.order));
    const count = shown().length;
    byId("gallery-count").textContent =
      count ? `${count} of ${cards.length} examples shown` : "No example fits: widen the filter";
  }
  for (const control of [attack, threat, text, sort]) control.addEventListener("input", arrange);
  byId("gallery-controls").hidden = false;
  arrange();

  // Zoom, where there are pictures.
  if (!byId("zoom")) return;
  const KINDS = ["original", "perturbation", "adversarial"];
  const SCALES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
  const zoom = byId("zoom"), view = byId("zoom-view"), picture = byId("zoom-picture");
  let card = null, kind = "original", scale = 0; // scale 0: as large as fits

  for (const image of list.querySelectorAll(".shot img")) {
    const button = document.createElement("button");
    button.type = "button";
    image.replaceWith(button);
    button.append(image);
    const title = image.closest(".card").querySelector("h3").textContent.trim().replace(/\s+/g, " ");
    button.setAttribute("aria-label", `Zoom: ${image.alt}, ${title}`);
    button.addEventListener("click", () => open(image.closest(".card"), image.dataset.kind));
  }

  const source = (ofKind) => card.querySelector(`img[data-kind="${ofKind}"]`);

  function fitting() {
    const image = source(kind);
    const room = Math.min(view.clientWidth / image.naturalWidth, view.clientHeight / image.naturalHeight);
    return room > 1 ? Math.floor(room) : room;
  }

  function draw() {
    const image = source(kind), factor = scale || fitting();
    picture.src = image.src;
    picture.alt = image.alt;
    picture.style.width = `${image.naturalWidth * factor}px`;
    picture.style.height = `${image.naturalHeight * factor}px`;
    const size = factor >= 1 ? `${factor} ×` : `${Math.round(100 * factor)} %`;
    byId("zoom-scale").textContent = scale ? size : `fit, ${size}`;
    for (const button of zoom.querySelectorAll("[data-show]")) {
      button.setAttribute("aria-pressed", String(button.dataset.show === kind));
    }
  }

  function show(next, nextKind) {
    card = next;
    kind = nextKind;
    const cards = shown(), place = cards.indexOf(card) + 1;
    byId("zoom-title").replaceChildren(...[...card.querySelector("h3").childNodes].map((node) => node.cloneNode(true)));
    byId("zoom-file").replaceChildren(card.querySelector(".file bdi").cloneNode(true), `, example ${place} of ${cards.length}`);
    draw();
    byId("zoom-said").textContent = `${picture.alt}, example ${place} of ${cards.length}`;
  }

  function open(next, nextKind) {
    scale = 0;
    zoom.showModal();
    show(next, nextKind);
  }

  function move(step) {
    const cards = shown();
    show(cards[(cards.indexOf(card) + step + cards.length) % cards.length], kind);
  }

  function resize(step) {
    const now = scale || fitting();
    const larger = SCALES.filter((s) => s > now), smaller = SCALES.filter((s) => s < now);
    const next = step > 0 ? larger[0] : smaller[smaller.length - 1];
    if (!next) return;
    const across = (view.scrollLeft + view.clientWidth / 2) / view.scrollWidth;
    const down = (view.scrollTop + view.clientHeight / 2) / view.scrollHeight;
    scale = next;
    draw();
    view.scrollTo(across * view.scrollWidth - view.clientWidth / 2, down * view.scrollHeight - view.clientHeight / 2);
  }

  for (const button of zoom.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => show(card, button.dataset.show));
  }
  byId("zoom-less").addEventListener("click", () => resize(-1));
  byId("zoom-more").addEventListener("click", () => resize(1));
  byId("zoom-previous").addEventListener("click", () => move(-1));
  byId("zoom-next").addEventListener("click", () => move(1));
  byId("zoom-close").addEventListener("click", () => zoom.close());
  zoom.addEventListener("click", (event) => { if (event.target === zoom) zoom.close(); });
  zoom.addEventListener("close", () => source(kind).closest("button").focus());
  addEventListener("resize", () => { if (zoom.open) draw(); });

  zoom.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const pans = event.target === view && (view.scrollWidth > view.clientWidth || view.scrollHeight > view.clientHeight);
    const acts = { "1": () => show(card, KINDS[0]), "2": () => show(card, KINDS[1]), "3": () => show(card, KINDS[2]),
      "+": () => resize(1), "=": () => resize(1), "-": () => resize(-1), "0": () => { scale = 0; draw(); } };
    if (!pans) Object.assign(acts, { ArrowLeft: () => move(-1), ArrowRight: () => move(1) });
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  });

  // Arrows go from picture to picture in the gallery.
  list.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const here = event.target.closest(".shot button");
    if (!step || !here || event.ctrlKey || event.metaKey || event.altKey) return;
    const buttons = shown().flatMap((one) => [...one.querySelectorAll(".shot button")]);
    const next = buttons[buttons.indexOf(here) + step];
    if (next) { event.preventDefault(); next.focus(); }
  });
})();
