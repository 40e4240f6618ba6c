"use strict";
// The report's tables sort, its charts are drawn, and the explorer shows single queries. All text of data is set as text.

const DATA = JSON.parse(document.getElementById("data").textContent);

// Tables

function sortBy(table, column, button) {
  const head = button.closest("th");
  const numeric = head.classList.contains("figure");
  const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : numeric;
  for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => (numeric ? parseFloat(row.cells[column].dataset.value ?? row.cells[column].textContent) : row.cells[column].textContent);
  const order = (a, b) => {
    const [left, right] = [key(a), key(b)];
    // What has no value stays at the end.
    if (numeric && (isNaN(left) || isNaN(right))) return isNaN(left) - isNaN(right);
    return (numeric ? left - right : left.localeCompare(right)) * (down ? -1 : 1);
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(order));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = cell.querySelector("button");
    button.addEventListener("click", () => sortBy(table, column, button));
  });
}

for (const box of document.querySelectorAll("input[data-group]")) {
  const apply = () => {
    for (const row of document.querySelectorAll(`tr[data-group="${box.dataset.group}"]`)) row.hidden = !box.checked;
  };
  box.addEventListener("change", apply);
  apply();
}

// Charts

for (const holder of document.querySelectorAll("[data-chart]")) {
  drawChart(holder, DATA.charts.find((chart) => chart.name === holder.dataset.chart));
}

// Explorer

function option(name, chosen) {
  const made = html("option", { value: name }, name);
  made.selected = chosen;
  return made;
}

function signed(value) {
  return (value > 0 ? "+" : value < 0 ? "−" : "±") + Math.abs(value).toFixed(3);
}

function rankText(rank) {
  return rank ? `rank ${rank}` : "not found";
}

function documentItem(explorer, at, grade) {
  const [title, text] = explorer.documents[at];
  const item = html("li", { class: grade > 0 ? "relevant" : "" });
  item.append(html("b", {}, title || "(no title)"));
  if (grade > 0) item.append(" ", html("span", { class: "badge" }, grade > 1 ? `relevant, grade ${grade}` : "relevant"));
  item.append(html("p", {}, text));
  return item;
}

function ranking(explorer, query, model) {
  const found = query.found[model];
  const list = html("ol", {}, ...found.map((at) => documentItem(explorer, at, query.grades[at] ?? 0)));
  const head = html("h5", {}, explorer.models[model], " ", html("span", {}, `NDCG@10 ${query.scores[model].toFixed(3)}`));
  return html("div", { class: "ranking" }, head, found.length ? list : html("p", {}, "found nothing"));
}

function answers(explorer, query, a, b) {
  const rows = query.relevant.map(([at, ranks]) => html("tr", {}, html("td", {}, explorer.documents[at][0] || explorer.documents[at][1]),
    html("td", {}, rankText(ranks[a])), html("td", {}, rankText(ranks[b]))));
  const head = html("tr", {}, html("th", {}, "relevant document"), html("th", {}, explorer.models[a]), html("th", {}, explorer.models[b]));
  const table = html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows));
  const more = query.unlisted ? [html("p", { class: "note" }, `and ${query.unlisted} more`)] : [];
  return html("div", { class: "answers" }, table, ...more);
}

function queryItem(explorer, query, a, b) {
  const change = query.scores[b] - query.scores[a];
  const badge = html("span", { class: change > 0 ? "change up" : "change down" }, signed(change));
  const summary = html("summary", {}, badge, html("span", { class: "text" }, query.text),
    html("span", { class: "scores" }, `${query.scores[a].toFixed(3)} → ${query.scores[b].toFixed(3)}`));
  const item = html("details", { class: "query" }, summary);
  // Made when it is opened: there are hundreds.
  item.addEventListener("toggle", () => {
    if (item.open && item.children.length === 1) {
      item.append(html("div", { class: "rankings" }, ranking(explorer, query, a), ranking(explorer, query, b)), answers(explorer, query, a, b));
    }
  });
  return item;
}

function explore() {
  const at = (name) => document.getElementById("explorer-" + name);
  const explorer = DATA.explorers.find((each) => each.name === at("benchmark").value);
  const [a, b] = ["a", "b"].map((name) => explorer.models.indexOf(at(name).value));
  const chosen = a === b ? null : explorer.pairs[`${Math.min(a, b)} ${Math.max(a, b)}`];
  if (!chosen) {
    at("counts").textContent = "Choose two different models.";
    at("lists").replaceChildren();
    return;
  }
  const [more, same, fewer] = a < b ? chosen.counts : [...chosen.counts].reverse();
  at("counts").replaceChildren(
    html("b", {}, explorer.models[b]), ` scores higher than ${explorer.models[a]} on `, html("b", { class: "up" }, String(more)),
    ` queries, lower on `, html("b", { class: "down" }, String(fewer)), `, the same on ${same}.`);
  at("bar").replaceChildren(...[["up", more], ["same", same], ["down", fewer]].map(([kind, count]) =>
    html("i", { class: kind, style: `flex-grow:${count}`, title: String(count) })));
  const words = at("filter").value.toLowerCase();
  const change = (query) => query.scores[b] - query.scores[a];
  const queries = chosen.queries.map((row) => explorer.queries[row]).filter((query) => query.text.toLowerCase().includes(words));
  const list = (title, kind, wanted) => {
    const found = queries.filter(wanted).sort((p, q) => Math.abs(change(q)) - Math.abs(change(p)));
    const items = found.map((query) => queryItem(explorer, query, a, b));
    if (items.length) items[0].open = true;
    return html("section", {}, html("h4", { class: kind }, title), ...(items.length ? items : [html("p", { class: "note" }, "none")]));
  };
  at("lists").replaceChildren(
    list("Gained most", "up", (query) => change(query) > 0), list("Lost most", "down", (query) => change(query) < 0));
}

function startExplorer() {
  const [benchmark, a, b] = ["benchmark", "a", "b"].map((name) => document.getElementById("explorer-" + name));
  if (!benchmark) return;
  benchmark.append(...DATA.explorers.map((each) => option(each.name, false)));
  const models = DATA.explorers[0].models;
  a.append(...models.map((name) => option(name, name === DATA.first[0])));
  b.append(...models.map((name) => option(name, name === DATA.first[1])));
  for (const select of [benchmark, a, b]) select.addEventListener("change", explore);
  document.getElementById("explorer-swap").addEventListener("click", () => {
    [a.value, b.value] = [b.value, a.value];
    explore();
  });
  document.getElementById("explorer-filter").addEventListener("input", explore);
  explore();
}

startExplorer();
