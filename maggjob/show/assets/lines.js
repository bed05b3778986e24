// Lines above the cells: coast, grounding line, graticule, scale bar.

const INK = { coast: "#4a5560", grounding: "#2f6ea8", graticule: "rgba(48, 64, 74, 0.35)", label: "#37424a" };
const ANGLES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30];
const METRES_PER_DEGREE = 111200;

/** Draw all lines; `screen` turns metres into pixels. */
function drawLines(context, view, projection, outlines) {
  const { width, height } = view;
  const screen = (x, y) => [width / 2 + (x - view.x) / view.scale, height / 2 - (y - view.y) / view.scale];
  context.clearRect(0, 0, width, height);
  context.lineJoin = "round";
  for (const [kind, lines] of Object.entries(outlines)) {
    context.beginPath();
    for (const line of lines) traceRing(context, line, screen);
    context.strokeStyle = INK[kind];
    context.lineWidth = 1;
    context.stroke();
  }
  drawGraticule(context, view, projection, screen);
  return scaleBar(view, projection);
}

/** Fill the land, below the cells. */
function drawLand(context, view, coast) {
  const { width, height } = view;
  const screen = (x, y) => [width / 2 + (x - view.x) / view.scale, height / 2 - (y - view.y) / view.scale];
  context.fillStyle = "#e6eef4";
  context.fillRect(0, 0, width, height);
  context.beginPath();
  for (const line of coast) traceRing(context, line, screen);
  context.fillStyle = "#fbfaf7";
  context.fill("evenodd");
}

function traceRing(context, [xs, ys], screen) {
  let open = false, lastX = 0, lastY = 0;
  for (let i = 0; i < xs.length; i++) {
    const [px, py] = screen(xs[i], ys[i]);
    // Points less than a pixel apart are one.
    if (open && i < xs.length - 1 && Math.abs(px - lastX) + Math.abs(py - lastY) < 0.8) continue;
    if (open) context.lineTo(px, py);
    else context.moveTo(px, py);
    [open, lastX, lastY] = [true, px, py];
  }
}

function drawGraticule(context, view, projection, screen) {
  const { width, height, scale } = view;
  const half = [(width / 2) * scale, (height / 2) * scale];
  const pole = Math.abs(view.x) < half[0] && Math.abs(view.y) < half[1];
  const far = Math.hypot(Math.abs(view.x) + half[0], Math.abs(view.y) + half[1]);
  const near = pole ? 0 : Math.hypot(Math.max(0, Math.abs(view.x) - half[0]), Math.max(0, Math.abs(view.y) - half[1]));
  const latitudes = [projection.inverse(0, far)[1], projection.inverse(0, near)[1]].sort((a, b) => a - b);
  const size = (Math.min(width, height) * scale) / METRES_PER_DEGREE;
  const step = ANGLES.find((angle) => size / angle <= 4.5) ?? 10;
  const middle = projection.inverse(view.x, view.y)[1];
  const across = size / Math.max(0.02, Math.cos(middle * DEGREE));
  const turn = pole && size > 5 ? 30 : ANGLES.find((angle) => across / angle <= 4.5) ?? 30;
  context.strokeStyle = INK.graticule;
  context.lineWidth = 0.7;
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  const labels = [];
  const trace = (points, text) => {
    context.beginPath();
    let inside = false, before = null;
    for (const [longitude, latitude] of points) {
      const at = screen(...projection.forward(longitude, latitude));
      const now = at[0] >= 0 && at[0] <= width && at[1] >= 0 && at[1] <= height;
      if (before === null) context.moveTo(...at);
      else context.lineTo(...at);
      if (before !== null && now !== inside) labels.push([text, ...(now ? at : before)]);
      [inside, before] = [now, at];
    }
    context.stroke();
  };
  for (let k = Math.ceil(latitudes[0] / step); k * step <= latitudes[1]; k++) {
    const value = k * step;
    if (Math.abs(value) < 90) trace(alongParallel(view, projection, value), degrees(value, "NS", step));
  }
  for (let k = -Math.round(180 / turn) + 1; k * turn <= 180; k++) {
    const value = k * turn, end = pole && value % 90 ? 88 : 89.999;
    const from = Math.max(latitudes[0] - 1, -end), to = Math.min(latitudes[1] + 1, end);
    const points = Array.from({ length: 161 }, (_, i) => [value, from + ((to - from) * i) / 160]);
    trace(points, Math.abs(value) === 180 ? "180°" : degrees(value, "EW", turn));
  }
  placeLabels(context, labels, view);
}

/** Points of a parallel about the view, with its middle where the view is. */
function alongParallel(view, projection, latitude) {
  const [middle] = projection.inverse(view.x, view.y);
  const radius = Math.hypot(...projection.forward(0, latitude)), across = Math.hypot(view.width, view.height) * view.scale;
  const reach = across > radius ? 180 : across / radius / DEGREE;
  return Array.from({ length: 361 }, (_, i) => [middle - reach + (2 * reach * i) / 360, latitude]);
}

function placeLabels(context, labels, view) {
  const taken = [];
  context.lineWidth = 3;
  context.strokeStyle = "rgba(255, 255, 255, 0.85)";
  context.fillStyle = INK.label;
  for (const [text, x, y] of labels) {
    const wide = context.measureText(text).width;
    // The buttons are in the upper left corner.
    const least = y < 160 ? 62 : 4;
    const at = [Math.min(view.width - wide - 4, Math.max(least, x - wide / 2)), Math.min(view.height - 9, Math.max(9, y))];
    // The bar of the scale is in the lower left one.
    if (at[0] < Math.min(160, view.width / 4) + 30 && at[1] > view.height - 48) continue;
    if (taken.some(([a, b]) => Math.abs(a - at[0]) < wide + 14 && Math.abs(b - at[1]) < 18)) continue;
    taken.push(at);
    context.strokeText(text, ...at);
    context.fillText(text, ...at);
  }
}

function degrees(value, sides, step) {
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
  const rounded = Math.abs(value).toFixed(digits);
  return `${rounded}°${Number(rounded) === 0 ? "" : value > 0 ? sides[0] : sides[1]}`;
}

/** Length of a scale bar: { text, pixels }. */
function scaleBar(view, projection) {
  const ground = view.scale / projection.stretch(Math.hypot(view.x, view.y)), most = ground * Math.min(160, view.width / 4);
  const power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
  return { text: length >= 1000 ? `${length / 1000} km` : `${length} m`, pixels: length / ground };
}
