// HEALPix in the nested scheme, after Gorski et al. (2005), The Astrophysical Journal 622, 759.

/** Base cell of a point, and its place in it from 0 to 1: [face, x, y]. `z` is the sine of the latitude. */
function faceOf(z, longitude) {
  const quarters = longitude / 90;
  const turn = quarters - 4 * Math.floor(quarters / 4);
  const high = Math.abs(z);
  if (high <= 2 / 3) {
    const down = 0.5 + turn - 0.75 * z, up = 0.5 + turn + 0.75 * z;
    const row = Math.floor(down), column = Math.floor(up);
    const face = row === column ? (row & 3) | 4 : row < column ? row & 3 : (column & 3) + 8;
    return [face, up - column, 1 - (down - row)];
  }
  const quarter = Math.min(3, Math.floor(turn)), part = turn - quarter;
  const away = Math.sqrt(3 * (1 - high));
  const one = Math.min(1, part * away), other = Math.min(1, (1 - part) * away);
  return z > 0 ? [quarter, 1 - other, 1 - one] : [quarter + 8, one, other];
}

// The bits of a byte, with a zero between any two.
const SPREAD = new Uint16Array(256);
for (let i = 0; i < 256; i++) {
  for (let bit = 0; bit < 8; bit++) SPREAD[i] |= ((i >> bit) & 1) << (2 * bit);
}

/** Bits of x and y in turns; both below 65,536. The result is below 2 ** 32. */
function interleave(x, y) {
  const low = SPREAD[x & 255] | (SPREAD[y & 255] << 1);
  const high = SPREAD[(x >> 8) & 255] | (SPREAD[(y >> 8) & 255] << 1);
  return (low + high * 65536) >>> 0;
}

/** Place of a point in a grid of parent cells and their children: [id of the parent, number of the child]. */
function cellAt(face, x, y, parentOrder, order) {
  const side = 2 ** order;
  const column = Math.min(side - 1, Math.max(0, Math.floor(x * side)));
  const row = Math.min(side - 1, Math.max(0, Math.floor(y * side)));
  const shift = order - parentOrder, mask = 2 ** shift - 1;
  const parent = face * 4 ** parentOrder + interleave(Math.floor(column / 2 ** shift), Math.floor(row / 2 ** shift));
  return [parent, interleave(column & mask, row & mask)];
}

/** Nested id of a child, as text: it may have more bits than a number. */
function nestedId(parent, child, parentOrder, order) {
  return String((BigInt(parent) << BigInt(2 * (order - parentOrder))) + BigInt(child));
}

/** Signed decimal id of a parent cell, as maggjob prints it. */
function decimalId(parent, order) {
  const base = Math.floor(parent / 4 ** order);
  let digits = "";
  for (let level = order - 1; level >= 0; level--) digits += (Math.floor(parent / 4 ** level) % 4) + 1;
  return (base < 6 ? "" : "-") + ((base % 6) + 1) + digits;
}
