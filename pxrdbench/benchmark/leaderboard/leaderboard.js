"use strict";
// Sorts and filters the rows of the table. What is chosen stands in the address, so
// that a link shows it again.
const byId = (id) => document.getElementById(id);
const table = byId("board");
const body = byId("rows");
const rows = Array.from(body.rows);
const form = byId("controls");
const texts = new Set(["title", "saw", "date"]);
const rising = new Set(["rank", "title", "ece", "patterns_seen", "hours", "saw"]);
const fields = ["search", "tier", "hours", "patterns", "baselines", "unseen"];
let direction = "ascending";

const key = (row, name) => row.getAttribute(`data-${name.replaceAll("_", "-")}`);

function compare(name) {
  const sign = direction === "ascending" ? 1 : -1;
  return (one, other) => {
    const [a, b] = [key(one, name), key(other, name)];
    // What is unknown comes last, whichever way the rest is sorted.
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = texts.has(name) ? a.localeCompare(b) : Number(a) - Number(b);
    return sign * order || Number(key(one, "rank")) - Number(key(other, "rank"));
  };
}

function isWanted(row) {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = row.textContent.toLowerCase();
  const within = (limit, name) =>
    limit === "" || (key(row, name) !== "" && Number(key(row, name)) <= Number(limit));
  return (
    words.every((word) => text.includes(word)) &&
    (byId("tier").value === "" || row.dataset.tier === byId("tier").value) &&
    (byId("baselines").checked || row.dataset.kind !== "baseline") &&
    (!byId("unseen").checked || row.dataset.types === "no") &&
    within(byId("hours").value, "hours") &&
    within(byId("patterns").value, "patterns_seen")
  );
}

function show() {
  const name = byId("sort").value;
  rows.sort(compare(name));
  let shown = 0;
  for (const row of rows) {
    row.hidden = !isWanted(row);
    shown += !row.hidden;
    body.append(row);
  }
  for (const button of table.querySelectorAll("thead button")) {
    const head = button.parentElement;
    if (button.dataset.sort === name) head.setAttribute("aria-sort", direction);
    else head.removeAttribute("aria-sort");
  }
  byId("none").hidden = shown > 0;
  byId("count").value = `${shown} of ${rows.length} rows`;
}

function remember() {
  const state = new URLSearchParams({ sort: byId("sort").value, direction });
  for (const id of fields) {
    const field = byId(id);
    const value = field.type === "checkbox" ? String(field.checked) : field.value;
    const usual = field.type === "checkbox" ? String(field.defaultChecked) : "";
    if (value !== usual) state.set(id, value);
  }
  history.replaceState(null, "", `#${state}`);
}

function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  const names = Array.from(byId("sort").options, (option) => option.value);
  if (names.includes(state.get("sort"))) byId("sort").value = state.get("sort");
  direction = state.get("direction") === "descending" ? "descending" : "ascending";
  for (const id of fields.filter((name) => state.has(name))) {
    const field = byId(id);
    if (field.type === "checkbox") field.checked = state.get(id) === "true";
    else field.value = state.get(id);
  }
}

function update() {
  show();
  remember();
}

function sortBy(name) {
  const again = byId("sort").value === name;
  const usual = rising.has(name) ? "ascending" : "descending";
  const other = direction === "ascending" ? "descending" : "ascending";
  direction = again ? other : usual;
  byId("sort").value = name;
  update();
}

for (const button of table.querySelectorAll("thead button"))
  button.addEventListener("click", () => sortBy(button.dataset.sort));
byId("sort").addEventListener("change", () => {
  direction = rising.has(byId("sort").value) ? "ascending" : "descending";
  update();
});
form.addEventListener("input", update);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => {
  direction = "ascending";
  setTimeout(update); // after the fields are back
});
recall();
show();
