"use strict";
// Draws a chart's panels as SVG from its data (ragcun.report.charts), with a legend that hides and shows, and values on hover.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 26, right: 12, bottom: 38, left: 46 };

function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function html(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function number(value) {
  if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3)) return value.toExponential(2);
  return String(Number(value.toPrecision(Math.abs(value) >= 1000 ? 5 : 4)));
}

// Scales

function extent(panel, axis) {
  const given = panel["range_" + axis];
  if (given) return given;
  const values = panel.series.flatMap((each) => (each.low ? [...each[axis], ...each.low, ...each.high] : each[axis]));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (panel["log_" + axis]) return [low / 1.2, high * 1.2];
  const gap = (high - low || Math.abs(high) || 1) * 0.06;
  return [low - gap, high + gap];
}

function linearTicks([low, high], count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const ticks = [];
  for (let at = Math.ceil(low / step); at * step <= high + 1e-9 * step; at++) ticks.push(Number((at * step).toPrecision(10)));
  return ticks;
}

function logTicks([low, high], base, count) {
  const [first, last] = [low, high].map((each) => Math.log(each) / Math.log(base));
  const step = Math.max(1, Math.ceil((last - first) / count));
  const ticks = [];
  for (let power = Math.ceil(first); power <= last; power += step) ticks.push(base ** power);
  return ticks;
}

function scale(range, pixels, base) {
  const of = base ? Math.log : (value) => value;
  const [low, high] = range.map(of);
  return (value) => pixels[0] + ((of(value) - low) / (high - low)) * (pixels[1] - pixels[0]);
}

// Markers, by matplotlib's names

function polygon(corners, radius, turn, inner) {
  const points = [];
  for (let at = 0; at < corners; at++) {
    const angle = turn + (2 * Math.PI * at) / corners;
    const length = inner && at % 2 ? radius * inner : radius;
    points.push(`${(length * Math.sin(angle)).toFixed(2)},${(-length * Math.cos(angle)).toFixed(2)}`);
  }
  return "M" + points.join("L") + "Z";
}

function marker(kind, radius) {
  const r = radius, t = radius * 0.4;
  const plus = `M${-t},${-r}H${t}V${-t}H${r}V${t}H${t}V${r}H${-t}V${t}H${-r}V${-t}H${-t}Z`;
  const shapes = {
    s: () => polygon(4, r * 1.2, Math.PI / 4), D: () => polygon(4, r * 1.2, 0), "^": () => polygon(3, r * 1.25, 0),
    v: () => polygon(3, r * 1.25, Math.PI), P: () => plus, "*": () => polygon(10, r * 1.4, 0, 0.45),
    p: () => polygon(5, r * 1.1, 0), h: () => polygon(6, r * 1.1, 0), X: () => polygon(8, r * 1.3, Math.PI / 4, 0.42),
  };
  return shapes[kind] ? shapes[kind]() : `M${-r},0A${r},${r} 0 1 0 ${r},0A${r},${r} 0 1 0 ${-r},0Z`;
}

function inkOf(series) {
  return `--light:${series.colour[0]};--dark:${series.colour[1]}`;
}

function mark(series, radius) {
  return svg("path", { d: marker(series.marker, radius), class: series.hollow ? "mark hollow" : "mark" });
}

// Panels

function drawSeries(series, x, y) {
  const group = svg("g", { class: "series" + (series.faint ? " faint" : ""), style: inkOf(series) });
  const at = series.x.map((value, i) => [x(value), y(series.y[i])]);
  (series.low ?? []).forEach((low, i) => group.append(
    svg("line", { x1: x(low), x2: x(series.high[i]), y1: at[i][1], y2: at[i][1], class: "whisker" }),
    svg("text", { x: at[i][0], y: at[i][1] - 7, "text-anchor": "middle" }, series.x[i].toFixed(3))));
  if (series.kind !== "points") {
    const dashes = series.dashes.map((each) => each * 1.6).join(" ");
    group.append(svg("path", { d: "M" + at.map((p) => p.map((v) => v.toFixed(1))).join("L"), class: "line", "stroke-dasharray": dashes }));
  }
  if (series.kind !== "line") {
    const radius = series.faint ? 2.6 : at.length > 60 ? 1.9 : 4;
    for (const [left, top] of at) {
      const shape = mark(series, radius);
      shape.setAttribute("transform", `translate(${left.toFixed(1)},${top.toFixed(1)})`);
      group.append(shape);
    }
  }
  return group;
}

function ticksOfY(panel, range) {
  if (panel.rows.length) return [];
  return panel.log_y ? logTicks(range, panel.log_y, 5) : linearTicks(range, 5);
}

function drawAxes(panel, frame, x, y, ranges) {
  const group = svg("g", { class: "axes" });
  const text = (content, attributes) => group.append(svg("text", attributes, content));
  const ticksX = panel.log_x ? logTicks(ranges.x, panel.log_x, 7) : linearTicks(ranges.x, Math.max(3, (frame.right - frame.left) / 70));
  for (const tick of ticksX) {
    group.append(svg("line", { x1: x(tick), x2: x(tick), y1: frame.top, y2: frame.bottom }));
    text(number(tick), { x: x(tick), y: frame.bottom + 14, "text-anchor": "middle" });
  }
  for (const tick of ticksOfY(panel, ranges.y)) {
    group.append(svg("line", { x1: frame.left, x2: frame.right, y1: y(tick), y2: y(tick) }));
    text(number(tick), { x: frame.left - 6, y: y(tick) + 3.5, "text-anchor": "end" });
  }
  panel.rows.forEach((name, row) => text(name, { x: frame.left - 8, y: y(row) + 3.5, "text-anchor": "end" }));
  text(panel.title, { x: frame.left, y: 14, class: "title" });
  text(panel.x, { x: (frame.left + frame.right) / 2, y: frame.bottom + 31, "text-anchor": "middle" });
  if (panel.y) {
    const middle = (frame.top + frame.bottom) / 2;
    text(panel.y, { transform: `translate(11,${middle}) rotate(-90)`, "text-anchor": "middle" });
  }
  return group;
}

function drawPanel(holder, panel, shape, hidden) {
  const width = Math.max(240, holder.clientWidth);
  const ranges = { x: extent(panel, "x"), y: panel.rows.length ? [panel.rows.length - 0.5, -0.5] : extent(panel, "y") };
  const names = panel.rows.length ? panel.rows : ticksOfY(panel, ranges.y).map(number);
  const longest = 6.1 * Math.max(...names.map((name) => name.length), 0);
  // Beside numbers stands the axis' name.
  const left = panel.rows.length ? 14 + longest : Math.max(MARGIN.left, 24 + longest);
  const inner = width - left - MARGIN.right;
  const height = panel.rows.length ? 64 + 27 * panel.rows.length
    : panel.equal ? inner + MARGIN.top + MARGIN.bottom : Math.min(360, Math.max(230, width * shape));
  const frame = { left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const shown = { ...panel, series: panel.series.filter((each) => !hidden.has(each.name)) };
  const x = scale(ranges.x, [frame.left, frame.right], panel.log_x);
  const y = scale(ranges.y, [frame.bottom, frame.top], panel.log_y);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${panel.title} ${panel.y}` });
  const inside = svg("svg", { x: frame.left, y: frame.top, width: frame.right - frame.left, height: frame.bottom - frame.top,
    viewBox: `${frame.left} ${frame.top} ${frame.right - frame.left} ${frame.bottom - frame.top}`, overflow: panel.range_x || panel.range_y ? "hidden" : "visible" });
  inside.append(...shown.series.map((each) => drawSeries(each, x, y)));
  const ring = svg("circle", { r: 7, class: "ring", visibility: "hidden" });
  picture.append(drawAxes(panel, frame, x, y, ranges), inside, ring);
  holder.replaceChildren(picture);
  hover(holder, picture, ring, shown, x, y);
}

// Values

function described(panel, series, at) {
  const [x, y] = [series.x[at], series.y[at]];
  const lines = [`${panel.x || "x"}: ${number(x)}`];
  if (!panel.rows.length) lines.push(`${panel.y || "y"}: ${number(y)}`);
  return [series.name, ...lines, ...(series.notes[at] ? [series.notes[at]] : [])];
}

function nearest(panel, x, y, left, top) {
  let best = null;
  for (const series of panel.series) {
    series.x.forEach((value, at) => {
      const distance = Math.hypot(x(value) - left, y(series.y[at]) - top) + (series.faint ? 4 : 0);
      if (distance < 40 && (!best || distance < best.distance)) best = { distance, series, at };
    });
  }
  return best;
}

function hover(holder, picture, ring, panel, x, y) {
  const tip = html("div", { class: "tip", hidden: "" });
  holder.append(tip);
  const hide = () => { tip.hidden = true; ring.setAttribute("visibility", "hidden"); };
  const show = (event) => {
    const box = picture.getBoundingClientRect();
    const zoom = picture.viewBox.baseVal.width / box.width;
    const found = nearest(panel, x, y, (event.clientX - box.left) * zoom, (event.clientY - box.top) * zoom);
    if (!found) return hide();
    const [left, top] = [x(found.series.x[found.at]), y(found.series.y[found.at])];
    const [name, ...lines] = described(panel, found.series, found.at);
    tip.replaceChildren(html("b", {}, name), ...lines.map((line) => html("div", {}, line)));
    tip.hidden = false;
    const width = tip.offsetWidth;
    tip.style.left = `${Math.min(Math.max(0, left / zoom - width / 2), holder.clientWidth - width)}px`;
    tip.style.top = `${top / zoom > tip.offsetHeight + 16 ? top / zoom - tip.offsetHeight - 12 : top / zoom + 14}px`;
    ring.setAttribute("cx", left);
    ring.setAttribute("cy", top);
    ring.setAttribute("visibility", "visible");
  };
  picture.addEventListener("pointermove", show);
  picture.addEventListener("pointerdown", show);
  picture.addEventListener("pointerleave", hide);
}

// A chart: its legend, and a panel in each cell of a grid

function swatch(series) {
  const picture = svg("svg", { viewBox: "0 0 30 12", width: 30, height: 12, "aria-hidden": "true" });
  const group = svg("g", { class: "series", style: inkOf(series) });
  if (series.kind !== "points") {
    group.append(svg("path", { d: "M1,6H29", class: "line", "stroke-dasharray": series.dashes.map((each) => each * 1.6).join(" ") }));
  }
  if (series.kind !== "line") {
    const shape = mark(series, 4);
    shape.setAttribute("transform", "translate(15,6)");
    group.append(shape);
  }
  picture.append(group);
  return picture;
}

function drawChart(holder, chart) {
  const hidden = new Set();
  const grid = html("div", { class: "panels", style: `--columns:${Math.min(chart.columns, chart.panels.length)}` });
  const cells = chart.panels.map(() => html("div", { class: "panel" }));
  grid.append(...cells);
  const redraw = () => cells.forEach((cell, at) => drawPanel(cell, chart.panels[at], chart.shape, hidden));
  const legend = html("div", { class: "legend" });
  const named = new Map();
  for (const series of chart.panels.flatMap((panel) => panel.series)) {
    if (!series.faint && !series.hollow && !named.has(series.name)) named.set(series.name, series);
  }
  for (const [name, series] of chart.legend ? named : []) {
    const button = html("button", { type: "button", "aria-pressed": "true", title: "hide or show" }, swatch(series), name);
    button.addEventListener("click", () => {
      const off = !hidden.delete(name);
      if (off) hidden.add(name);
      button.setAttribute("aria-pressed", String(!off));
      redraw();
    });
    legend.append(button);
  }
  holder.replaceChildren(legend, grid);
  redraw();
  let width = grid.clientWidth;
  new ResizeObserver(() => {
    if (grid.clientWidth !== width) {
      width = grid.clientWidth;
      redraw();
    }
  }).observe(grid);
}
