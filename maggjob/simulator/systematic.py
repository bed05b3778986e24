"""What many segments have in common: biases of passes and cycles, an error of the DEM, the spacecraft's orientation.

Noise that is independent from segment to segment averages out. These errors do not, so an analysis that states the
error of a rate must know of them. Each is drawn from a generator of its own, which depends on the seed and on what
shares the error, and on nothing else.
"""

import math

import numpy as np

from maggjob.icesat2.orbit import SECONDS_TO_CYCLE_2, Pass, region_angles
from maggjob.simulator.surface import EARTH

PASS, CYCLE, DEM = 2001, 2002, 2003
"""Last numbers of the seeds of the generators, which no other generator of the simulator has."""
REACH = 5e3  # metres
"""Distance at which the correlation of the DEM's error falls to 1/e."""
WAVES = 64
"""Number of waves in the error of the DEM."""
BACKWARD, FORWARD, TRANSITION = 0, 1, 2
"""Values of ``sc_orient``, as in ATL06's data dictionary."""
FLIP = 251 * 86400.0  # seconds
"""Time from one flip of the spacecraft to the next.

ICESat-2 turns around whenever the sun crosses the plane of its orbit, so that its solar panels stay lit. The plane
turns by 0.27 degrees per day, the sun by 0.99: they meet every 180 / 0.72 = 251 days."""


def pass_bias(seed: int, one: Pass, beam: int, deviation: float) -> float:
    """Return the bias of the heights of one beam of a track in a cycle. All regions of the track share it.

    Parameters
    ----------
    seed : int
    one : Pass
    beam : int
        Beam, from 0 for gt1l to 5 for gt3r.
    deviation : float
        Standard deviation, metres.

    Returns
    -------
    float
        Metres.
    """
    return deviation * float(np.random.default_rng([seed, one.cycle, one.rgt, beam, PASS]).standard_normal())


def cycle_bias(seed: int, cycle: int, deviation: float) -> float:
    """Return the bias of all heights of a cycle.

    Parameters
    ----------
    seed, cycle : int
    deviation : float
        Standard deviation, metres.

    Returns
    -------
    float
        Metres.
    """
    # Five numbers, as numpy pads shorter seeds with zeros: none must be the start of another.
    return deviation * float(np.random.default_rng([seed, cycle, 0, 0, CYCLE]).standard_normal())


def dem_error(latitude: np.ndarray, longitude: np.ndarray, seed: int, deviation: float) -> np.ndarray:
    """Return an error of the DEM that is smooth in space and depends on the place alone.

    It is a sum of plane waves in three dimensions, so it has no seam at the antimeridian or a pole. Their wave numbers
    are normally distributed, so the correlation of points at a distance d is ``exp(-(d / REACH)^2)`` (Rahimi and Recht,
    "Random features for large-scale kernel machines", 2007).

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
    seed : int
    deviation : float
        Root mean square over a large area, metres.

    Returns
    -------
    ndarray, shape (n,)
        Metres.
    """
    error = np.zeros(len(latitude))
    if deviation == 0:
        return error
    rng = np.random.default_rng([seed, 0, 0, 0, DEM])
    numbers = rng.normal(0.0, math.sqrt(2.0) / REACH, (WAVES, 3))
    phases = rng.uniform(0.0, 2 * np.pi, WAVES)
    phi, lam = np.radians(latitude), np.radians(longitude)
    x, y, z = EARTH * np.cos(phi) * np.cos(lam), EARTH * np.cos(phi) * np.sin(lam), EARTH * np.sin(phi)
    # Plain sums, as a product of matrices may round the same place differently among other places.
    for (a, b, c), phase in zip(numbers, phases, strict=True):
        error += np.cos(a * x + b * y + c * z + phase)
    return error * (deviation * math.sqrt(2.0 / WAVES))


def orientation(one: Pass) -> int:
    """Return the spacecraft's orientation during a pass, as the dataset ``sc_orient`` of its granule has it.

    One flip is that of 2018-12-28, to backward; the others are before and after it at equal intervals (`FLIP`). The
    dates of real flips may differ from these by some days.

    Returns
    -------
    int
        `BACKWARD` (the strong beams are the left ones), `FORWARD` (the right ones), or `TRANSITION` if a flip lies
        between the start and the end of the pass.
    """
    times = one.times(np.array(region_angles()[one.region]))
    first, last = np.floor((times - SECONDS_TO_CYCLE_2) / FLIP).astype(int).tolist()
    if first != last:
        return TRANSITION
    return BACKWARD if first % 2 == 0 else FORWARD
