// Cells as pixels: every pixel shows the cell that its middle lies in.
//
// The place of a pixel in its base cell changes almost linearly from pixel to pixel. So it is computed at the corners of
// blocks and interpolated in between. Towards the pole it is less and less linear, and blocks are divided; so are those
// that reach into another base cell. What is left of them is computed for each pixel.

const BLOCK = 16, SMALLEST = 4; // pixels
const MOST_OFF = 0.06; // pixels that an interpolated place may be off
const FINEST_PIXELS = 0.9; // smallest width of a cell, in pixels
const BASE_WIDTH = 6371000 * Math.sqrt(Math.PI / 3);
const GREY = 0xffd6d6d6;
const PARTIAL = 0xff0d73d9, FAILED = 0xff2716c0; // as bytes: alpha, blue, green, red
const EDGE = 0.86;

/** What is drawn: codes by order, colours, and the states of parent cells. */
class Cells {
  constructor(projection, parents) {
    this.projection = projection;
    this.parents = parents;
    this.states = new Uint8Array(CONTENT.parents.count);
  }

  /** Show other values. */
  show(values, variable, time) {
    this.levels = new Map([[CONTENT.order, { values, cells: null }]]);
    this.codes = new Map();
    this.variable = variable;
    this.colours = new Uint32Array(FIRST + STEPS);
    coloursOf(variable.scale).forEach(([r, g, b], i) => (this.colours[FIRST + i] = 0xff000000 | (b << 16) | (g << 8) | r));
    this.colours[NO_DATA] = GREY;
    const unread = CONTENT.unread[CONTENT.times ? time : 0] || {};
    this.states.fill(0);
    for (const [state, code] of [["partial", 1], ["failed", 2]]) for (const i of unread[state] || []) this.states[i] = code;
  }

  /** Order that is drawn if a pixel is so many metres wide. */
  orderFor(metres) {
    let order = CONTENT.order;
    while (order > CONTENT.parentOrder && BASE_WIDTH / 2 ** order < FINEST_PIXELS * metres) order--;
    return order;
  }

  levelAt(order) {
    if (!this.levels.has(order)) {
      const { sum, scale } = this.variable;
      this.levels.set(order, coarser(this.levelAt(order + 1), sum, scale.flags.length > 0));
    }
    return this.levels.get(order);
  }

  codesAt(order) {
    if (!this.codes.has(order)) {
      let { scale } = this.variable;
      // The number of segments grows with the area.
      const factor = this.variable.sum ? 4 ** (CONTENT.order - order) : 1;
      if (factor > 1) scale = { ...scale, low: scale.log ? scale.low : scale.low * factor, high: scale.high * factor };
      this.codes.set(order, codesOf(this.levelAt(order).values, scale));
    }
    return this.codes.get(order);
  }

  /** Face, x and y of a point of the plane. */
  place(x, y) {
    const [longitude, latitude] = this.projection.inverse(x, y);
    return faceOf(sineOnSphere(latitude, CONTENT.latitude), longitude);
  }

  /** The cell of a point of the plane: parent, position of the parent (-1: not planned), child and row. */
  find(x, y) {
    const [parent, child] = cellAt(...this.place(x, y), CONTENT.parentOrder, CONTENT.order);
    const rank = this.parents.rank(parent);
    return { parent, child, rank, row: rank < 0 ? -1 : rank * CHILDREN + child };
  }

  /** Draw into an image; `view` has the middle in metres, and metres per pixel. Returns the order that was drawn. */
  draw(image, view) {
    const { width, height } = image;
    const pixels = new Uint32Array(image.data.buffer);
    const order = this.orderFor(view.scale);
    const target = { pixels, width, height, order, codes: this.codesAt(order), ranks: new Int32Array(width * height).fill(-1), scale: view.scale };
    const x0 = view.x - (width / 2 - 0.5) * view.scale, y0 = view.y + (height / 2 - 0.5) * view.scale;
    target.at = (i, j) => [x0 + i * view.scale, y0 - j * view.scale];
    const columns = Math.ceil(width / BLOCK), corner = (i, j) => this.place(...target.at(i * BLOCK, j * BLOCK));
    let above = Array.from({ length: columns + 1 }, (_, i) => corner(i, 0));
    for (let j = 0; j * BLOCK < height; j++) {
      const below = Array.from({ length: columns + 1 }, (_, i) => corner(i, j + 1));
      for (let i = 0; i < columns; i++) {
        this.drawBlock(target, i * BLOCK, j * BLOCK, BLOCK, [above[i], above[i + 1], below[i], below[i + 1]]);
      }
      above = below;
    }
    this.drawStates(target);
    return order;
  }

  drawBlock(target, left, top, size, corners) {
    if (left >= target.width || top >= target.height) return;
    const [x, y] = target.at(left + size / 2, top + size / 2);
    // The second derivative is one over the distance from the pole.
    const off = (size * size) / 8 / Math.max(1e-9, Math.hypot(x, y) / target.scale - size);
    if (off > 0 && off < MOST_OFF && corners.every((c) => c[0] === corners[0][0])) {
      this.smoothBlock(target, left, top, size, corners);
    } else if (size <= SMALLEST) {
      this.exactBlock(target, left, top, size);
    } else {
      const half = size / 2, [a, b, c, d] = corners;
      const place = (i, j) => this.place(...target.at(left + i * half, top + j * half));
      const [north, west, middle, east, south] = [place(1, 0), place(0, 1), place(1, 1), place(2, 1), place(1, 2)];
      this.drawBlock(target, left, top, half, [a, north, west, middle]);
      this.drawBlock(target, left + half, top, half, [north, b, middle, east]);
      this.drawBlock(target, left, top + half, half, [west, middle, c, south]);
      this.drawBlock(target, left + half, top + half, half, [middle, east, south, d]);
    }
  }

  smoothBlock(target, left, top, size, [a, b, c, d]) {
    const { pixels, width, height, order, codes, ranks } = target;
    const side = 2 ** order, shift = order - CONTENT.parentOrder, mask = 2 ** shift - 1, most = side - 1;
    const first = a[0] * 4 ** CONTENT.parentOrder, children = 4 ** shift, { rank } = this.parents;
    const right = Math.min(width, left + size), bottom = Math.min(height, top + size);
    let parent = -1, at = -1;
    for (let j = top; j < bottom; j++) {
      const v = (j - top) / size;
      let x = (a[1] + v * (c[1] - a[1])) * side, y = (a[2] + v * (c[2] - a[2])) * side;
      const dx = ((b[1] + v * (d[1] - b[1])) * side - x) / size, dy = ((b[2] + v * (d[2] - b[2])) * side - y) / size;
      for (let i = left, k = j * width + left; i < right; i++, k++, x += dx, y += dy) {
        const column = x < 0 ? 0 : x > most ? most : Math.floor(x), row = y < 0 ? 0 : y > most ? most : Math.floor(y);
        const own = first + interleave(column >> shift, row >> shift);
        if (own !== parent) at = rank((parent = own));
        if (at < 0) continue;
        ranks[k] = at;
        pixels[k] = this.colours[codes[at * children + interleave(column & mask, row & mask)]];
      }
    }
  }

  exactBlock(target, left, top, size) {
    const { pixels, width, height, order, codes, ranks } = target;
    const children = 4 ** (order - CONTENT.parentOrder);
    for (let j = top; j < Math.min(height, top + size); j++) {
      for (let i = left; i < Math.min(width, left + size); i++) {
        const [parent, child] = cellAt(...this.place(...target.at(i, j)), CONTENT.parentOrder, order);
        const at = this.parents.rank(parent), k = j * width + i;
        if (at < 0) continue;
        ranks[k] = at;
        pixels[k] = this.colours[codes[at * children + child]];
      }
    }
  }

  /** Borders of parent cells, and hatches of those that were read in part or not at all. */
  drawStates({ pixels, width, height, ranks }) {
    const dark = (p) => (0xff000000 | (((p >> 16) & 255) * EDGE) << 16 | (((p >> 8) & 255) * EDGE) << 8 | ((p & 255) * EDGE)) >>> 0;
    const hatched = this.states.some((state) => state > 0);
    for (let j = 0, k = 0; j < height; j++) {
      for (let i = 0; i < width; i++, k++) {
        const own = ranks[k];
        if (own < 0) continue;
        const edge = (i > 0 && ranks[k - 1] !== own) || (j > 0 && ranks[k - width] !== own);
        const state = hatched ? this.states[own] : 0;
        if (state === 1 && (edge || (i + j) % 10 < 2)) pixels[k] = PARTIAL;
        else if (state === 2 && (edge || (i + j) % 10 < 2 || (i - j + 100000) % 10 < 2)) pixels[k] = FAILED;
        else if (edge) pixels[k] = dark(pixels[k]);
      }
    }
  }
}
