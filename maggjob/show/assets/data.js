// The data of the page: blocks are inflated when they are first needed.

const CONTENT = JSON.parse(document.getElementById("content").textContent);
const CHILDREN = 4 ** (CONTENT.order - CONTENT.parentOrder);
const ROWS = CONTENT.parents.count * CHILDREN;

/** Bytes of a block. */
async function inflate(number) {
  const text = atob(document.getElementById(`block${number}`).textContent);
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Unsigned integers of a block of differences: all lowest bytes first. */
async function integers(number, count, size) {
  const bytes = await inflate(number);
  const values = size === 1 ? new Uint8Array(count) : size === 2 ? new Uint16Array(count) : new Uint32Array(count);
  let value = 0;
  for (let i = 0; i < count; i++) {
    let step = 0;
    for (let k = size - 1; k >= 0; k--) step = (step << 8) | bytes[k * count + i];
    value = (value + step) | 0;
    values[i] = value;
  }
  return values;
}

/** Numbers of eight bytes of a block: all first bytes first. */
async function doubles(number, count) {
  const bytes = await inflate(number), turned = new Uint8Array(8 * count);
  for (let k = 0; k < 8; k++) for (let i = 0; i < count; i++) turned[8 * i + k] = bytes[k * count + i];
  return new Float64Array(turned.buffer);
}

/** Values of a layer, one per row; NaN where there are none. */
async function readLayer(layer) {
  const size = { table8: 1, table16: 2, step16: 2, step32: 4, whole32: 4, float32: 4, float64: 8 }[layer.kind];
  const read = size === 8 ? doubles(layer.block, layer.count) : integers(layer.block, layer.count, size);
  const [mask, codes] = await Promise.all([inflate(layer.mask), read]);
  const value = {
    table8: (i) => layer.table[codes[i]],
    table16: (i) => layer.table[codes[i]],
    step16: (i) => (codes[i] + layer.lowest) * layer.step,
    step32: (i) => (codes[i] + layer.lowest) * layer.step,
    float64: (i) => codes[i],
    whole32: (i) => codes[i] + layer.lowest,
    float32: ((floats) => (i) => floats[i])(layer.kind === "float32" ? new Float32Array(codes.buffer) : null),
  }[layer.kind];
  const values = new (["whole32", "float64"].includes(layer.kind) ? Float64Array : Float32Array)(ROWS).fill(NaN);
  const apart = new Map(layer.apart || []);
  for (let row = 0, at = 0; row < ROWS; row++) {
    if ((mask[row >> 3] >> (row & 7)) & 1) {
      values[row] = apart.has(at) ? apart.get(at) : value(at);
      at++;
    }
  }
  return values;
}

const kept = new Map();
const KEPT = 40e6; // values

/** Values of a variable at a time, from memory if they were read before. */
function valuesOf(variable, time) {
  const number = variable.timed ? time : 0;
  const key = `${variable.name}/${number}`;
  if (!kept.has(key)) {
    // The oldest go first.
    while (kept.size * ROWS > KEPT) kept.delete(kept.keys().next().value);
    kept.set(key, readLayer(variable.layers[number]));
  }
  return kept.get(key);
}

/** Values of parent cells divided less often, from the finest down, and of how many cells each is the mean or sum. */
function coarser({ values, cells }, sum, flags) {
  const length = values.length / 4;
  const found = { values: new Float32Array(length), cells: new Float32Array(length) };
  for (let i = 0; i < length; i++) {
    let total = 0, count = 0, first = NaN;
    for (let k = 4 * i; k < 4 * i + 4; k++) {
      const value = values[k];
      if (value === value) {
        // A mean counts as often as there are cells in it.
        const weight = cells ? cells[k] : 1;
        if (!count) first = value;
        total += sum ? value : value * weight;
        count += weight;
      }
    }
    found.cells[i] = count;
    found.values[i] = !count ? NaN : flags ? first : sum ? total : total / count;
  }
  return found;
}

/** Position of each parent cell among those of the page; -1 for others. */
async function readParents() {
  const ids = await integers(CONTENT.parents.block, CONTENT.parents.count, 4);
  const dense = CONTENT.parentOrder <= 9;
  const table = dense ? new Int32Array(12 * 4 ** CONTENT.parentOrder).fill(-1) : new Map();
  ids.forEach((id, i) => (dense ? (table[id] = i) : table.set(id, i)));
  return { ids, rank: dense ? (id) => table[id] : (id) => table.get(id) ?? -1 };
}

/** Lines as arrays of x and y in metres. */
async function readLines(kind) {
  const own = CONTENT.lines[kind], count = own.sizes.reduce((a, b) => a + b, 0);
  if (!count) return [];
  const [x, y] = await Promise.all([integers(own.x, count, 4), integers(own.y, count, 4)]);
  const lines = [];
  for (let i = 0, at = 0; i < own.sizes.length; at += own.sizes[i++]) {
    const metres = (values) => Float64Array.from(values.subarray(at, at + own.sizes[i]), (v) => (v | 0) * CONTENT.lines.unit);
    lines.push([metres(x), metres(y)]);
  }
  return lines;
}

/** Red, green and blue from 0 to 255 of each colour of a scale. */
function coloursOf(scale) {
  const anchors = CONTENT.palettes[scale.kind].map((t) => [0, 2, 4].map((i) => parseInt(t.slice(i, i + 2), 16)));
  if (scale.flags.length) return scale.flags.map((_, i) => anchors[i % anchors.length]);
  return Array.from({ length: STEPS }, (_, i) => {
    const at = (i / (STEPS - 1)) * (anchors.length - 1), low = Math.min(anchors.length - 2, Math.floor(at));
    return [0, 1, 2].map((k) => Math.round(anchors[low][k] + (at - low) * (anchors[low + 1][k] - anchors[low][k])));
  });
}

const STEPS = 254, NO_DATA = 1, FIRST = 2;

/** Code of each value: 1 for none, from 2 the number of its colour. */
function codesOf(values, scale) {
  const codes = new Uint8Array(values.length);
  const { low, high, log, flags } = scale;
  const start = log ? Math.log(low) : low, factor = STEPS / ((log ? Math.log(high) : high) - start);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value !== value) codes[i] = NO_DATA;
    else if (flags.length) {
      const at = flags.findIndex((flag) => flag[0] === value);
      codes[i] = at < 0 ? NO_DATA : FIRST + at;
    }
    else {
      const place = ((log ? Math.log(Math.max(value, low)) : value) - start) * factor;
      codes[i] = FIRST + (place < 0 ? 0 : place >= STEPS ? STEPS - 1 : place | 0);
    }
  }
  return codes;
}
