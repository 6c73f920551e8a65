"use strict";
// Tables that sort, a filter over the runs, charts with tooltips, and buttons that show or hide a level everywhere.

// Numbers in order; what is no number after them in either direction, as text.
const compare = (a, b, sign) => {
  const [x, y] = [typeof a === "number", typeof b === "number"];
  if (x !== y) return x ? -1 : 1;
  return sign * (x ? a - b : compareNames(a, b));
};
const compareNames = (a, b) => String(a).localeCompare(String(b), undefined, { numeric: true });

function makeSortable(table, sort) {
  table.querySelectorAll("thead th").forEach((heading, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent || "name";
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(index, down ? -1 : 1);
    });
  });
}

document.querySelectorAll("table.sortable:not(#run-table)").forEach((table) => {
  makeSortable(table, (index, sign) => {
    const rows = [...table.tBodies[0].rows];
    // A cell carries the number that it shows: "3 to 12 seeds" or "< 0.001" would not sort by its text.
    const value = (row) => {
      const cell = row.cells[index];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    rows.sort((a, b) => compare(value(a), value(b), sign));
    table.tBodies[0].append(...rows);
  });
});

const runTable = document.getElementById("run-table");
const PAGE = 200;
let shown = PAGE;
let rows = RUNS.rows;
const headings = document.createElement("tr");
RUNS.columns.forEach((name, index) => {
  const heading = document.createElement("th");
  heading.scope = "col";
  heading.textContent = name;
  if (RUNS.rows.length && typeof RUNS.rows[0][index] === "string") heading.className = "words";
  headings.append(heading);
});
runTable.tHead.append(headings);

function showRuns() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  // A word matches a number, or the beginning of a text, in any column: "batch 128" finds that cell.
  const matches = (value, word) => (typeof value === "number" ? value === Number(word) : String(value).toLowerCase().startsWith(word));
  const kept = rows.filter((row) => words.every((word) => row.some((value) => matches(value, word))));
  const body = kept.slice(0, shown).map((row) => {
    const line = document.createElement("tr");
    row.forEach((value, index) => {
      const cell = document.createElement("td");
      if (RUNS.link && index === 0) {
        const link = document.createElement("a"); // the run's folder, where the report lies beside its runs
        link.href = `${RUNS.link}${encodeURIComponent(value)}/`;
        link.textContent = value;
        cell.append(link);
      } else cell.textContent = value === null ? "—" : value;
      if (typeof value === "string") cell.className = "words";
      line.append(cell);
    });
    return line;
  });
  runTable.tBodies[0].replaceChildren(...body);
  document.getElementById("count").textContent = `${kept.length} of ${rows.length} runs`;
  document.getElementById("more").hidden = kept.length <= shown;
}
makeSortable(runTable, (index, sign) => {
  rows = [...rows].sort((a, b) => compare(a[index] ?? "", b[index] ?? "", sign));
  showRuns();
});
document.getElementById("filter").addEventListener("input", () => { shown = PAGE; showRuns(); });
document.getElementById("more").addEventListener("click", () => { shown += 5 * PAGE; showRuns(); });
showRuns();

// The buttons filter the data of every chart, so that axes rescale to what is left.
const hidden = new Set();
const views = new Map(); // of each chart's element
function levelsOf(spec) {
  return new Set(Object.values(spec.datasets || {}).flat().filter((row) => FACTOR in row).map((row) => row[FACTOR]));
}
// A figure whose specification lists axes can be drawn over each of them.
const chosenAxis = new Map();
function putAxis(spec, from, to) {
  const visit = (part) => {
    const x = part.encoding && part.encoding.x;
    if (x && x.field === from.field) Object.assign(x, { field: to.field, title: to.title });
    (part.layer || (part.spec ? [part.spec] : [])).forEach(visit);
  };
  visit(spec);
  if (spec.title && spec.title.text) spec.title.text = to.head;
}
// One drawing of a chart after the other, so that the last click is what is seen.
const drawings = new Map();
function draw(element) {
  const last = (drawings.get(element) || Promise.resolve()).then(() => drawNow(element));
  drawings.set(element, last);
  return last;
}
async function drawNow(element) {
  if (views.has(element)) views.get(element).finalize();
  views.delete(element);
  const spec = structuredClone(SPECS[element.dataset.chart]);
  if (chosenAxis.has(element.dataset.chart)) putAxis(spec, ...chosenAxis.get(element.dataset.chart));
  const levels = [...levelsOf(spec)];
  if (levels.length && levels.every((level) => hidden.has(level))) {
    element.textContent = "All that this figure shows is hidden.";
    element.dataset.drawn = String((Number(element.dataset.drawn) || 0) + 1);
    return;
  }
  const keep = (part) => {
    part.transform = [{ filter: { not: { field: FACTOR, oneOf: [...hidden] } } }, ...(part.transform || [])];
  };
  const each = (part, inherited) => {
    const named = (part.data && part.data.name) || inherited;
    const values = named && SPECS[element.dataset.chart].datasets ? SPECS[element.dataset.chart].datasets[named] : [];
    const inner = part.layer || (part.spec ? [part.spec] : part.hconcat || part.vconcat);
    if (values && values.length && FACTOR in values[0] && hidden.size && (part.data || !inherited)) keep(part);
    (inner || []).forEach((child) => each(child, named));
  };
  each(spec, null);
  // No menu over the picture: its files and its data are linked below it.
  views.set(element, await vegaEmbed(element, spec, { renderer: "svg", actions: false }));
  element.setAttribute("role", "img"); // the embedder puts words of its own here
  element.setAttribute("aria-label", element.dataset.alt);
  const picture = element.querySelector("svg.marks");
  // A wide figure scrolls in its box rather than shrink; on a phone it is seen whole, its files are there to enlarge.
  if (window.innerWidth > 640) picture.style.minWidth = `${0.85 * picture.width.baseVal.value}px`;
  element.dataset.drawn = String((Number(element.dataset.drawn) || 0) + 1);
}
const chartElements = [...document.querySelectorAll(".chart")];
chartElements.forEach((element) => { element.dataset.alt = element.getAttribute("aria-label"); });
const drawAll = () => Promise.all(chartElements.map(draw));
document.querySelectorAll(".toggle").forEach((button) => {
  button.addEventListener("click", () => {
    const level = button.dataset.level;
    if (hidden.has(level)) hidden.delete(level); else hidden.add(level);
    button.setAttribute("aria-pressed", String(!hidden.has(level)));
    drawAll();
  });
});
document.querySelectorAll("select.axis").forEach((select) => {
  select.addEventListener("change", () => {
    const axes = SPECS[select.dataset.chart].usermeta.axes;
    const element = document.getElementById(`chart-${select.dataset.chart}`);
    const [, was] = chosenAxis.get(select.dataset.chart) || [null, axes[0]];
    const now = axes[Number(select.value)];
    chosenAxis.set(select.dataset.chart, [axes[0], now]);
    element.dataset.alt = element.dataset.alt.replace(was.head, now.head);
    draw(element);
  });
});
const metricChoice = document.getElementById("metric");
if (metricChoice) {
  metricChoice.addEventListener("change", () => {
    document.querySelectorAll(".metric").forEach((part) => { part.hidden = part.dataset.metric !== metricChoice.value; });
  });
}
if (chartElements.length) drawAll();
