"use strict";
// Polar stereographic projections of WGS84 (EPSG:3031 and 3413), after Snyder (1987), Map projections: a working manual,
// USGS Professional Paper 1395, equations 3-1 to 3-5, 3-12, 14-15, 15-9, 21-33 and 21-34.

const AXIS = 6378137.0;
const FLATTENING = 1 / 298.257223563;
const E2 = FLATTENING * (2 - FLATTENING);
const E = Math.sqrt(E2);
const DEGREE = Math.PI / 180;

/** Projection of a hemisphere; `sign` is -1 in the south, `turn` the longitude that points up or down, radians. */
function makeProjection(crs) {
  const south = crs === 3031;
  const sign = south ? -1 : 1;
  const turn = south ? 0 : -45 * DEGREE;
  const truth = (south ? 71 : 70) * DEGREE;
  const conformal = (phi) => {
    const sine = E * Math.sin(phi);
    return Math.tan(Math.PI / 4 - phi / 2) / Math.pow((1 - sine) / (1 + sine), E / 2);
  };
  const scale = (AXIS * Math.cos(truth)) / Math.sqrt(1 - E2 * Math.sin(truth) ** 2) / conformal(truth);

  /** Distance from the pole in metres, of a geodetic latitude in degrees. */
  const radius = (latitude) => scale * conformal(sign * latitude * DEGREE);

  /** Geodetic latitude in degrees (positive towards the pole), of a distance from the pole. */
  const latitudeAt = (rho) => {
    const chi = Math.PI / 2 - 2 * Math.atan(rho / scale);
    const e4 = E2 * E2, e6 = e4 * E2, e8 = e4 * e4;
    return (chi
      + (E2 / 2 + (5 * e4) / 24 + e6 / 12 + (13 * e8) / 360) * Math.sin(2 * chi)
      + ((7 * e4) / 48 + (29 * e6) / 240 + (811 * e8) / 11520) * Math.sin(4 * chi)
      + ((7 * e6) / 120 + (81 * e8) / 1120) * Math.sin(6 * chi)
      + ((4279 * e8) / 161280) * Math.sin(8 * chi)) / DEGREE;
  };

  return {
    crs, sign,
    /** [x, y] in metres of a longitude and latitude in degrees. */
    forward(longitude, latitude) {
      const rho = radius(latitude), angle = longitude * DEGREE - turn;
      return [rho * Math.sin(angle), (south ? 1 : -1) * rho * Math.cos(angle)];
    },
    /** [longitude, latitude] in degrees of x and y in metres. */
    inverse(x, y) {
      const longitude = (Math.atan2(x, south ? y : -y) + turn) / DEGREE;
      const wrapped = longitude - 360 * Math.round(longitude / 360);
      return [wrapped, sign * latitudeAt(Math.hypot(x, y))];
    },
    /** Metres of the plane for one metre on the ground, at a distance from the pole. */
    stretch(rho) {
      const phi = latitudeAt(Math.max(rho, 1)) * DEGREE;
      return (Math.max(rho, 1) * Math.sqrt(1 - E2 * Math.sin(phi) ** 2)) / (AXIS * Math.cos(phi));
    },
  };
}

const authalic = (sine) => {
  const part = E * sine;
  return (1 - E2) * (sine / (1 - part * part) + Math.atanh(part) / E);
};
const AUTHALIC_POLE = authalic(1);

/** Sine of the latitude on the sphere of the cells: of the authalic latitude, or of the geodetic one taken as it is. */
function sineOnSphere(latitude, convention) {
  const sine = Math.sin(latitude * DEGREE);
  return convention === "authalic" ? authalic(sine) / AUTHALIC_POLE : sine;
}
