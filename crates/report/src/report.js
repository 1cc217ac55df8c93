"use strict";
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, place) => {
    const cell = row.cells[place];
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent;
  };
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = head.textContent;
    head.textContent = "";
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("num");
      const before = head.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : !numeric;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const rows = [...body.rows];
      rows.sort((one, other) => {
        const [a, b] = [key(one, place), key(other, place)];
        const order = numeric ? (isNaN(a) ? -1 : a) - (isNaN(b) ? -1 : b) : String(a).localeCompare(String(b));
        return ascending ? order : -order;
      });
      body.append(...rows);
    });
  });
  if (body.rows.length < 6) continue;
  const label = document.createElement("label");
  label.className = "filter";
  label.textContent = "Filter rows";
  const input = document.createElement("input");
  input.type = "search";
  label.append(input);
  table.closest(".wide").before(label);
  input.addEventListener("input", () => {
    const text = input.value.trim().toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(text);
  });
}
