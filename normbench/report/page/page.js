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
// A figure in another metric or with another axis swept has a specification, texts and data of its own.
const chosen = new Map(); // of each chart: the numbers of its metric and axis
function choiceOf(name) {
  const { metric, axis } = chosen.get(name) || { metric: 0, axis: 0 };
  return metric || axis ? { part: CHOICES[name][metric][axis] } : null;
}
// On a phone: panels below each other, the legend below them, titles in lines that fit.
const NARROW = 640;
function narrow(spec) {
  if (spec.facet && spec.columns) spec.columns = 1;
  spec.config.legend = { ...spec.config.legend, orient: "bottom", columns: 3 };
  if (!spec.title) return;
  const broken = (text, most) => [text || []].flat().flatMap((line) => {
    const lines = [""];
    line.split(" ").forEach((word) => {
      const last = lines[lines.length - 1];
      if (last && last.length + 1 + word.length > most) lines.push(word);
      else lines[lines.length - 1] = last ? `${last} ${word}` : word;
    });
    return lines;
  });
  spec.title.text = broken(spec.title.text, 44);
  spec.title.subtitle = broken(spec.title.subtitle, 54);
}
// Panels that much narrower; not under a width that shows a curve.
const NARROWEST = 160;
function shrink(part, excess) {
  if (typeof part.width === "number") part.width = Math.max(NARROWEST, part.width - excess);
  [part.layer, part.vconcat, part.concat, part.spec && [part.spec]].forEach((inner) => (inner || []).forEach((one) => shrink(one, excess)));
}
const READABLE = 0.9; // of its own size: the smallest text of a figure is then 9 px
// The files below a figure are those of what it shows now.
async function offer(element, part) {
  const view = views.get(element).view;
  const png = await view.toImageURL("png", 2);
  const blob = (text, type) => URL.createObjectURL(new Blob([text], { type }));
  const made = { svg: blob(await view.toSVG(), "image/svg+xml"), png, csv: blob(part.csv, "text/csv") };
  element.closest("figure").querySelectorAll("a.file").forEach((link) => {
    link.href = made[link.dataset.kind];
    link.download = `${element.dataset.chart}_chosen.${link.dataset.kind}`;
  });
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
  const choice = choiceOf(element.dataset.chart);
  if (choice && !choice.part) {
    element.textContent = "There is nothing to draw so.";
    element.dataset.drawn = String((Number(element.dataset.drawn) || 0) + 1);
    return;
  }
  const source = choice ? choice.part.spec : SPECS[element.dataset.chart];
  const spec = structuredClone(source);
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
    const values = named && source.datasets ? source.datasets[named] : [];
    const inner = part.layer || (part.spec ? [part.spec] : part.hconcat || part.vconcat);
    if (values && values.length && FACTOR in values[0] && hidden.size && (part.data || !inherited)) keep(part);
    (inner || []).forEach((child) => each(child, named));
  };
  each(spec, null);
  const phone = window.innerWidth <= NARROW;
  if (phone) narrow(spec);
  // No menu over the picture: its files and its data are linked below it.
  const embed = () => vegaEmbed(element, spec, { renderer: "svg", actions: false });
  views.set(element, await embed());
  if (phone) {
    const room = element.clientWidth - 2 * parseFloat(getComputedStyle(element).paddingLeft);
    const excess = element.querySelector("svg.marks").width.baseVal.value - room;
    if (excess > 0) {
      views.get(element).finalize();
      shrink(spec, excess);
      views.set(element, await embed());
    }
  }
  element.setAttribute("role", "img"); // the embedder puts words of its own here
  element.setAttribute("aria-label", element.dataset.alt);
  const picture = element.querySelector("svg.marks");
  // A wide figure scrolls in its box, so that its text can be read; a button shows the whole of it.
  element.style.setProperty("--readable", `${READABLE * picture.width.baseVal.value}px`);
  const button = document.querySelector(`.fit[data-chart="${element.dataset.chart}"]`);
  button.hidden = button.getAttribute("aria-pressed") === "false" && element.scrollWidth <= element.clientWidth;
  if (choice) await offer(element, choice.part);
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
document.querySelectorAll("select.choice").forEach((select) => {
  const name = select.dataset.chart;
  const element = document.getElementById(`chart-${name}`);
  const figure = element.closest("figure");
  const [caption, files] = [figure.querySelector(".caption"), [...figure.querySelectorAll("a.file")]];
  const own = [element.dataset.alt, caption.textContent, files.map((link) => link.getAttribute("href"))];
  select.addEventListener("change", () => {
    chosen.set(name, { metric: 0, axis: 0, ...chosen.get(name), [select.dataset.what]: Number(select.value) });
    const choice = choiceOf(name);
    [element.dataset.alt, caption.textContent] = choice && choice.part ? [choice.part.alt, choice.part.caption] : own;
    files.forEach((link, index) => { link.href = own[2][index]; link.removeAttribute("download"); });
    draw(element);
  });
});
document.querySelectorAll(".fit").forEach((button) => {
  button.addEventListener("click", () => {
    const fits = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", String(fits));
    document.getElementById(`chart-${button.dataset.chart}`).classList.toggle("whole", fits);
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
