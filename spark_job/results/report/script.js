"use strict";
// Tables that sort by a click on a head cell, and that can be searched. Without this script they are plain tables.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const shown = (cell) => cell.querySelector("data")?.value ?? cell.textContent.trim();

  const sort = (head, column) => {
    const isNumber = head.classList.contains("number");
    const first = isNumber ? "descending" : "ascending";
    const other = isNumber ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const collator = new Intl.Collator();
    const keyed = [...body.rows].map((row) => [shown(row.cells[column]), row]);
    keyed.sort(([a], [b]) => (a === "") - (b === "") || sign * (isNumber ? a - b : collator.compare(a, b)));
    for (const cell of heads) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    body.append(...keyed.map(([, row]) => row));
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head, column));
    head.append(button);
  });

  const box = document.createElement("div");
  box.className = "search";
  const input = document.createElement("input");
  input.type = "search";
  input.setAttribute("aria-label", table.dataset.search);
  input.placeholder = table.dataset.search;
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  status.className = "small";
  const texts = [...body.rows].map((row) => [row, row.textContent.toLocaleLowerCase()]);
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLocaleLowerCase();
    let found = 0;
    for (const [row, text] of texts) {
      row.hidden = !text.includes(wanted);
      found += !row.hidden;
    }
    status.textContent = wanted ? `${found.toLocaleString("en")} of ${texts.length.toLocaleString("en")}` : "";
  });
  box.append(input, status);
  const scroll = table.closest(".scroll");
  scroll.before(box);
}
