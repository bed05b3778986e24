// The page: what is shown where, and what pointers, keys and buttons do.

const id = (name) => document.getElementById(name);
const MOST_PIXELS = 2.2e6;
const MOST_ZOOM = 60; // pixels of a cell of the finest order
const TAP = 6; // pixels that a finger may move

const projection = makeProjection(CONTENT.crs);
const state = { variable: CONTENT.variables[0], time: CONTENT.times ? CONTENT.times.first : 0, view: null, outlines: {}, order: CONTENT.order, frame: 0 };
const named = (name) => CONTENT.variables.find((variable) => variable.name === name);
let cells = null;

/** Metres per pixel of CSS at which everything is seen. */
function wholeView() {
  const [left, right, bottom, top] = CONTENT.extent, map = id("map");
  const scale = Math.max((right - left) / map.clientWidth, (top - bottom) / map.clientHeight);
  return { x: (left + right) / 2, y: (bottom + top) / 2, scale };
}

function setView(view) {
  const whole = wholeView(), finest = BASE_WIDTH / 2 ** CONTENT.order / MOST_ZOOM;
  const [left, right, bottom, top] = CONTENT.extent;
  const scale = Math.min(whole.scale * 2.5, Math.max(finest, view.scale));
  state.view = { x: Math.min(right, Math.max(left, view.x)), y: Math.min(top, Math.max(bottom, view.y)), scale };
  draw();
}

/** Draw at the next frame of the screen. */
function draw() {
  if (!state.frame) state.frame = requestAnimationFrame(() => { state.frame = 0; drawNow(); });
}

function drawNow() {
  const map = id("map"), [width, height] = [map.clientWidth, map.clientHeight];
  if (!width || !height) return;
  const dense = window.devicePixelRatio || 1;
  const fine = Math.min(dense, Math.sqrt(MOST_PIXELS / (width * height)));
  const size = (canvas, factor) => {
    const [w, h] = [Math.round(width * factor), Math.round(height * factor)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    return canvas.getContext("2d");
  };
  const view = { ...state.view, width, height };
  for (const name of ["land", "lines"]) size(id(name), dense).setTransform(dense, 0, 0, dense, 0, 0);
  drawLand(id("land").getContext("2d"), view, state.outlines.coast || []);
  const context = size(id("cells"), fine);
  if (cells && cells.variable) {
    const image = new ImageData(id("cells").width, id("cells").height);
    state.order = cells.draw(image, { ...state.view, scale: (state.view.scale * width) / image.width });
    context.putImageData(image, 0, 0);
  }
  const bar = drawLines(id("lines").getContext("2d"), view, projection, state.outlines);
  id("scale").firstElementChild.textContent = bar.text;
  id("scale").lastElementChild.style.width = `${bar.pixels}px`;
  sayOrder();
}

function sayOrder() {
  const width = (order) => { const km = BASE_WIDTH / 1000 / 2 ** order; return km >= 10 ? `${km.toFixed(0)} km` : km >= 0.1 ? `${km.toFixed(1)} km` : `${(km * 1000).toFixed(0)} m`; };
  const { variable, order } = state, own = CONTENT.order;
  const how = variable.sum ? "sums" : variable.scale.flags.length ? "one" : "means";
  const drawn = order === own ? `Cells of order ${own}, ${width(own)} wide.`
    : `Drawn: order ${order} (${width(order)}), ${how} of the cells of order ${own} (${width(own)}); zoom in to see these.`;
  id("drawn").textContent = drawn + (variable.rounding ? ` Values are rounded (${variable.rounding}).` : "");
  if (state.drawnTicks !== order) { state.drawnTicks = order; drawLegend(); }
}

/** Show a variable at a time. */
async function show() {
  const { variable, time } = state;
  id("busy").hidden = false;
  const values = await valuesOf(variable, time);
  if (variable !== state.variable || time !== state.time) return;
  cells.show(values, variable, time);
  id("busy").hidden = true;
  id("variable").value = variable.name;
  id("time").value = String(time);
  if (CONTENT.times) [id("before").disabled, id("after").disabled] = [time === 0, time === CONTENT.times.labels.length - 1];
  state.drawnTicks = null;
  state.shown = `${variable.name}/${time}`;
  draw();
}

function drawLegend() {
  const { variable, order } = state, { scale } = variable, colours = coloursOf(scale);
  const factor = variable.sum ? 4 ** (CONTENT.order - order) : 1;
  const css = (colour) => `rgb(${colour.join(" ")})`;
  id("label").textContent = `${variable.label}${variable.units ? ` (${variable.units})` : ""}`;
  const flags = scale.flags.length > 0;
  id("bar").hidden = id("ticks").hidden = flags;
  const ramp = id("ramp").getContext("2d");
  colours.forEach((colour, i) => { ramp.fillStyle = css(colour); ramp.fillRect(i, 0, 1, 1); });
  id("below").style.background = scale.below ? css(colours[0]) : "none";
  id("above").style.background = scale.above ? css(colours.at(-1)) : "none";
  const low = scale.log ? scale.low : scale.low * factor, high = scale.high * factor;
  const ticks = scale.log ? logTicks(low, high) : niceTicks(low, high, 4);
  const place = (t) => (scale.log ? Math.log(t / low) / Math.log(high / low) : (t - low) / (high - low));
  const text = (t) => (scale.log ? t.toLocaleString("en") : shortNumber(t, ticks[1] - ticks[0]));
  id("ticks").innerHTML = ticks.map((t) => `<span style="left:${100 * place(t)}%">${text(t)}</span>`).join("");
  const stripes = (colour) => `repeating-linear-gradient(135deg, ${colour} 0 2px, transparent 2px 6px)`;
  const keys = flags ? scale.flags.map((flag, i) => [css(colours[i]), flag[1]]) : [];
  keys.push(["#d6d6d6", "planned, no data"]);
  const unread = CONTENT.unread[CONTENT.times ? state.time : 0] || {};
  if ((unread.partial || []).length) keys.push([stripes("#d9730d"), "read in part"]);
  if ((unread.failed || []).length) keys.push([stripes("#c01627"), "failed, not read"]);
  const items = keys.map(([colour, word]) => `<li><i style="background:${colour}; outline:1px solid #0003"></i>${escaped(word)}</li>`);
  for (const [kind, word] of [["coast", "coast"], ["grounding", "grounding line"]]) {
    if (CONTENT.lines[kind].sizes.length) items.push(`<li><i style="height:2px; vertical-align:4px; background:${INK[kind]}"></i>${word}</li>`);
  }
  id("keys").innerHTML = items.join("");
}

function logTicks(low, high) {
  const every = [];
  for (let power = 1; power <= high; power *= 10) for (const n of [1, 2, 5]) if (n * power >= low && n * power <= high) every.push(n * power);
  return every.length > 6 ? every.filter((t) => Number.isInteger(Math.log10(t) + 1e-12) || /^10*$/.test(String(t))) : every;
}

// --- What a cell holds ---

const planeAt = (px, py) => {
  const map = id("map"), { x, y, scale } = state.view;
  return [x + (px - map.clientWidth / 2) * scale, y - (py - map.clientHeight / 2) * scale];
};

/** Everything that is told of the cell at a point of the map. */
async function ask(px, py) {
  const point = planeAt(px, py), [longitude, latitude] = projection.inverse(...point);
  const found = cells.find(...point), { variable, time } = state;
  const told = { ...found, longitude, latitude, id: nestedId(found.parent, found.child, CONTENT.parentOrder, CONTENT.order), parentId: decimalId(found.parent, CONTENT.parentOrder) };
  if (found.row < 0) return told;
  const read = async (name) => (named(name) ? (await valuesOf(named(name), time))[found.row] : NaN);
  told.state = ["", "partial", "failed"][cells.states[found.rank]];
  [told.value, told.error, told.count] = [await read(variable.name), variable.error ? await read(variable.error) : NaN, await read("count")];
  return told;
}

function tipOf(told) {
  const { variable } = state, side = (value, sides) => `${Math.abs(value).toFixed(3)}°${value >= 0 ? sides[0] : sides[1]}`;
  const where = `${side(told.latitude, "NS")} ${side(told.longitude, "EW")}`;
  if (told.row < 0) return `<small>${where}</small>no planned cell`;
  const value = withError(told.value, told.error, variable);
  const count = named("count") ? `<br>${Number.isFinite(told.count) ? Math.round(told.count).toLocaleString("en") : 0} segments` : "";
  const warn = { partial: "this cell was read in part", failed: "this cell failed: it was not read" }[told.state];
  return `<b>${escaped(value)}</b>${count}${warn ? `<br><span class="warn">${warn}</span>` : ""}
    <small>${where}<br>cell ${told.id} (nested, order ${CONTENT.order}) in ${told.parentId}</small>`;
}

let asked = 0;
async function tell(px, py) {
  const number = ++asked, told = await ask(px, py);
  if (number !== asked) return;
  const tip = id("tip"), map = id("map");
  tip.innerHTML = tipOf(told);
  tip.hidden = false;
  const [w, h] = [tip.offsetWidth, tip.offsetHeight];
  const left = px + 16 + w > map.clientWidth ? px - w - 12 : px + 16;
  const top = py + 16 + h > map.clientHeight ? py - h - 12 : py + 16;
  tip.style.left = `${Math.max(4, Math.min(map.clientWidth - w - 4, left))}px`;
  tip.style.top = `${Math.max(4, Math.min(map.clientHeight - h - 4, top))}px`;
}

async function showSeries(px, py) {
  const { variable } = state, told = await ask(px, py);
  if (!CONTENT.times || !variable.timed || told.row < 0) return;
  const points = await seriesOf(variable, variable.error ? named(variable.error) : null, told.row);
  id("series").querySelector("h2").textContent = `${variable.name}${variable.units ? ` (${variable.units})` : ""} of cell ${told.id}`;
  id("chart").innerHTML = chartOf(points, variable) + tableOf(points, variable);
  id("series").hidden = false;
  if (window.innerWidth <= 760) id("series").scrollIntoView({ block: "start" });
}

// --- Pointers, wheel, keys, buttons ---

function zoomAt(factor, px, py) {
  const [x, y] = planeAt(px, py), map = id("map");
  setView({ ...state.view, scale: state.view.scale / factor });
  // The point under the pointer stays there.
  const { scale } = state.view;
  setView({ x: x - (px - map.clientWidth / 2) * scale, y: y + (py - map.clientHeight / 2) * scale, scale });
}

function listen() {
  const map = id("map"), pointers = new Map();
  const at = (event) => { const box = map.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  let start = null;
  map.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    map.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    start = pointers.size === 1 ? at(event) : null;
  });
  map.addEventListener("pointermove", (event) => {
    const now = at(event), before = pointers.get(event.pointerId);
    if (!before) { if (event.pointerType === "mouse") tell(...now); return; }
    const others = [...pointers].filter(([key]) => key !== event.pointerId).map(([, place]) => place);
    pointers.set(event.pointerId, now);
    if (others.length) {
      const apart = (a, b) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));
      zoomAt(apart(now, others[0]) / apart(before, others[0]), ...others[0]);
    } else if (!start || Math.hypot(now[0] - start[0], now[1] - start[1]) > TAP) {
      start = null;
      map.classList.add("moving");
      id("tip").hidden = true;
      const { x, y, scale } = state.view;
      setView({ x: x - (now[0] - before[0]) * scale, y: y + (now[1] - before[1]) * scale, scale });
    }
  });
  const end = (event) => {
    if (start && event.type === "pointerup") { tell(...at(event)); showSeries(...at(event)); }
    pointers.delete(event.pointerId);
    [start] = [null];
    map.classList.remove("moving");
  };
  map.addEventListener("pointerup", end);
  map.addEventListener("pointercancel", end);
  map.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") { asked++; id("tip").hidden = true; } });
  map.addEventListener("wheel", (event) => { event.preventDefault(); zoomAt(Math.exp(-Math.max(-200, Math.min(200, event.deltaY)) / 300), ...at(event)); }, { passive: false });
  map.addEventListener("dblclick", (event) => { if (!event.target.closest("button")) zoomAt(2, ...at(event)); });
  const middle = () => [map.clientWidth / 2, map.clientHeight / 2];
  id("in").onclick = () => zoomAt(1.6, ...middle());
  id("out").onclick = () => zoomAt(1 / 1.6, ...middle());
  id("all").onclick = () => setView(wholeView());
  map.addEventListener("keydown", (event) => {
    if (event.target !== map) return;
    const { x, y, scale } = state.view, step = 60 * scale;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[event.key]) setView({ x: x + moves[event.key][0], y: y + moves[event.key][1], scale });
    else if (event.key === "+" || event.key === "=") zoomAt(1.6, ...middle());
    else if (event.key === "-") zoomAt(1 / 1.6, ...middle());
    else if (event.key === "0") setView(wholeView());
    else if (event.key === "Enter") showSeries(...middle());
    else return;
    event.preventDefault();
    id("cross").hidden = false;
    tell(...middle());
  });
  map.addEventListener("blur", () => { id("cross").hidden = true; });
  id("variable").onchange = (event) => { state.variable = named(event.target.value); id("tip").hidden = true; show(); };
  const go = (time) => { state.time = time; id("tip").hidden = true; show(); };
  id("time").onchange = (event) => go(Number(event.target.value));
  id("before").onclick = () => go(Math.max(0, state.time - 1));
  id("after").onclick = () => go(Math.min(CONTENT.times.labels.length - 1, state.time + 1));
  new ResizeObserver(() => setView(state.view)).observe(map);
}

function fill() {
  id("simulated").hidden = !CONTENT.simulated;
  id("title").textContent = CONTENT.title;
  id("details").textContent = id("details").title = CONTENT.details;
  id("variable").innerHTML = CONTENT.variables.map((v) => `<option value="${escaped(v.name)}">${escaped(v.name)}${v.label === v.name ? "" : `: ${escaped(v.label)}`}</option>`).join("");
  id("when").hidden = !CONTENT.times;
  if (CONTENT.times) {
    const { kind, labels, spans } = CONTENT.times;
    id("kind").textContent = kind[0].toUpperCase() + kind.slice(1);
    id("time").innerHTML = labels.map((label, i) => `<option value="${i}">${escaped(label + (spans[i] ? ` (${spans[i].join(" to ")})` : " (no data)"))}</option>`).join("");
  }
  const left = CONTENT.leftOut ? ` ${CONTENT.leftOut.toLocaleString("en")} cells in the other hemisphere are not shown.` : "";
  id("made").textContent = `maggjob ${CONTENT.version}; coast: Natural Earth.${left}` + (CONTENT.times ? " Click a cell for its time series." : "");
}

async function begin() {
  fill();
  state.view = wholeView();
  listen();
  draw();
  cells = new Cells(projection, await readParents());
  [state.outlines.coast, state.outlines.grounding] = [await readLines("coast"), await readLines("grounding")];
  await show();
}

// For tests, and for the console.
window.maggjob = { state, ask, projection, cellAt, faceOf, sineOnSphere, nestedId, decimalId, valuesOf, named, planeAt, setView, ready: begin(), orderDrawn: () => state.order };
