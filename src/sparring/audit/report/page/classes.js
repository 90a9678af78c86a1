"use strict";
(() => {
  const table = document.getElementById("classes-table");
  if (!table) return;
  const byId = (id) => document.getElementById(id);
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const first = Number(table.dataset.first), wanted = byId("by-class"), more = byId("classes-all");
  const count = byId("classes-count"), remark = count.textContent.split("shown")[1];
  const names = rows.map((row) => row.cells[0].textContent.trim().toLowerCase());
  const inWords = (n) => n.toLocaleString("en");
  let all = rows.length <= first, order = rows;

  function show() {
    const text = wanted.value.trim().toLowerCase();
    const found = new Set(rows.filter((_, i) => names[i].includes(text)));
    let left = all ? rows.length : first, shown = 0;
    for (const row of order) {
      row.hidden = !found.has(row) || left === 0;
      if (!row.hidden) { left -= 1; shown += 1; }
    }
    more.hidden = rows.length <= first || found.size <= first;
    more.textContent = all ? `Show the first ${first} only` : `Show all ${inWords(found.size)} classes`;
    count.textContent = `${inWords(shown)} of ${inWords(rows.length)} classes shown${remark}`;
  }

  function arrange(column, falling) {
    const value = (row) => column ? Number(row.cells[column].dataset.v) : names[rows.indexOf(row)];
    const compare = column ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
    const keyed = rows.map((row, i) => [value(row), i, row]);
    keyed.sort((a, b) => (falling ? -1 : 1) * compare(a[0], b[0]) || a[1] - b[1]);
    order = keyed.map((one) => one[2]);
    body.append(...order);
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", falling ? "descending" : "ascending");
    show();
  }

  // A click sorts: the lowest first, and again: the highest.
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => arrange(column, head.getAttribute("aria-sort") === "ascending"));
  });

  wanted.addEventListener("input", show);
  more.addEventListener("click", () => { all = !all; show(); });
  byId("classes-controls").hidden = rows.length <= first;
  show();
})();
