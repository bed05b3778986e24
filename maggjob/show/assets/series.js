// The time series of a cell: a chart with error bars, and the same numbers as a table.

/** Text as HTML: names, units and flags come from whoever made the result. */
const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

/** Points of a cell: [{ label, span, value, error }], one per time. */
async function seriesOf(variable, error, row) {
  const points = [];
  for (let time = 0; time < CONTENT.times.labels.length; time++) {
    const value = (await valuesOf(variable, time))[row];
    const own = error ? (await valuesOf(error, time))[row] : NaN;
    points.push({ label: CONTENT.times.labels[time], span: CONTENT.times.spans[time], value, error: own });
  }
  return points;
}

/** Middle of a time in days since 1970, or its number if no dates are known. */
function middleOf(point, i) {
  return point.span ? (Date.parse(point.span[0]) + Date.parse(point.span[1])) / 2 / 864e5 : i;
}

/** Return the chart as SVG text. */
function chartOf(points, variable) {
  const [width, height, left, bottom, top, right] = [320, 170, 52, 26, 10, 10];
  const good = points.map((point, i) => ({ ...point, i })).filter((point) => Number.isFinite(point.value));
  if (!good.length) return "<p>This cell has no values.</p>";
  const dated = points.every((point, i) => point.span || !Number.isFinite(point.value));
  const xs = points.map((point, i) => (dated ? (point.span ? middleOf(point, i) : NaN) : i));
  const known = xs.filter(Number.isFinite), [x0, x1] = [Math.min(...known), Math.max(...known)];
  const reach = (point) => (Number.isFinite(point.error) ? point.error : 0);
  let [low, high] = [Math.min(...good.map((p) => p.value - reach(p))), Math.max(...good.map((p) => p.value + reach(p)))];
  if (high <= low) [low, high] = [low - Math.max(0.5, Math.abs(low) / 1e6), high + Math.max(0.5, Math.abs(high) / 1e6)];
  const pad = 0.08 * (high - low);
  const px = (x) => (x1 > x0 ? left + 8 + ((x - x0) / (x1 - x0)) * (width - left - right - 16) : (left + width - right) / 2);
  const py = (y) => height - bottom - ((y - low + pad) / (high - low + 2 * pad)) * (height - bottom - top);
  const ticks = niceTicks(low, high, 4);
  const grid = ticks.map((t) => `<line x1="${left}" x2="${width - right}" y1="${py(t)}" y2="${py(t)}" class="grid"/>
    <text x="${left - 6}" y="${py(t) + 4}" text-anchor="end">${shortNumber(t, ticks[1] - ticks[0])}</text>`);
  const every = Math.ceil(points.length / 6);
  const names = points.map((p, i) => (i % every || !Number.isFinite(xs[i]) ? "" :
    `<text x="${px(xs[i])}" y="${height - 8}" text-anchor="middle">${escaped(p.label)}</text>`));
  const path = good.map((p) => `${px(xs[p.i]).toFixed(1)},${py(p.value).toFixed(1)}`).join(" ");
  const marks = good.map((p) => {
    const [x, y] = [px(xs[p.i]), py(p.value)];
    const bar = reach(p) ? `<line x1="${x}" x2="${x}" y1="${py(p.value - p.error)}" y2="${py(p.value + p.error)}" class="bar"/>` : "";
    return `${bar}<circle cx="${x}" cy="${y}" r="3.2"><title>${escaped(`${CONTENT.times.kind} ${p.label}: ${withError(p.value, p.error, variable)}`)}</title></circle>`;
  });
  const label = escaped(`${variable.name} by ${CONTENT.times.kind}`);
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">${grid.join("")}${names.join("")}
    <polyline points="${path}"/>${marks.join("")}</svg>`;
}

function niceTicks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k++) ticks.push(k * step);
  return ticks.length > 1 ? ticks : [low, high];
}

function shortNumber(value, step) {
  const digits = Math.max(0, -Math.floor(Math.log10(step || 1) + 1e-9));
  return (digits > 12 ? value.toPrecision(4) : value.toFixed(digits)).replace("-", "−");
}

/** Table of the numbers of a series. */
function tableOf(points, variable) {
  const rows = points.map((p) => `<tr><th>${escaped(p.label)}</th><td>${p.span ? escaped(p.span.join(" to ")) : ""}</td>
    <td>${escaped(withError(p.value, p.error, variable))}</td></tr>`);
  return `<details><summary>Numbers</summary><table>${rows.join("")}</table></details>`;
}

/** A value as text, with as many digits as its error or its colours deserve. */
function withError(value, error, variable) {
  if (!Number.isFinite(value)) return "no data";
  const unit = variable.units ? ` ${variable.units}` : "";
  if (variable.scale.flags.length) return (variable.scale.flags.find((f) => f[0] === value) || ["", value])[1];
  if (variable.whole) return `${Math.round(value).toLocaleString("en")}${unit}`;
  const fine = Number.isFinite(error) && error > 0 ? error / 10 : Math.abs(variable.scale.high - variable.scale.low) / 1000;
  const digits = Math.max(0, Math.ceil(-Math.log10(fine || 1)));
  const text = (number) => (digits > 6 ? number.toPrecision(4) : number.toFixed(digits)).replace("-", "−");
  return Number.isFinite(error) ? `${text(value)} ± ${text(error)}${unit}` : `${text(value)}${unit}`;
}
