"""HEALPix cells: the only module that handles latitude conventions and the forms of cell ids.

(What a convention means for the areas of cells is in `maggjob.grid.polygons.cell_areas`.)

HEALPix divides the sphere into 12 base cells. At each order, every cell is divided into four child cells of equal area.
Inside maggjob a cell is its *nested* HEALPix id, a plain integer whose order is known from the context. For users, a
cell is printed as mortie's signed decimal id ("-6134114").

There are two latitude conventions, and their ids are not compatible:

``authalic``
    Geodetic latitudes are converted to authalic latitudes on WGS84, so that cells have equal areas on the
    ellipsoid. xdggs does this for the ellipsoid WGS84.
``geodetic-spherical``
    Geodetic latitudes are used as if they were spherical. healpy and older versions of mortie do this.
"""

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np

from maggjob.errors import CellError

Latitude = Literal["authalic", "geodetic-spherical"]
LATITUDES: tuple[str, ...] = get_args(Latitude)
MAX_ORDER = 29
MAX_DECIMAL_ORDER = 18
"""Highest order whose signed decimal ids fit in 64 bits."""

MAX_PLAIN_ORDER = 27
"""Highest order whose packed words have two bits for each order."""

OUTSIDE, INVALID = -1, -2
"""Values that `child_index` returns for segments outside the cell, and for those that cannot be binned."""


@dataclass(frozen=True)
class Grid:
    """A pair of HEALPix orders and a latitude convention."""

    parent_order: int = 6
    """Order of the cells that are processed one by one."""
    child_order: int = 12
    """Order of the child cells for which statistics are computed."""
    latitude: Latitude = "authalic"
    """Latitude convention of the ids."""

    @property
    def shift(self) -> int:
        """Number of bits by which a child's nested id is longer than its parent's."""
        return 2 * (self.child_order - self.parent_order)

    @property
    def children(self) -> int:
        """Number of child cells per parent cell."""
        return 1 << self.shift


def valid_coordinates(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Return which coordinates can be binned.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees

    Returns
    -------
    ndarray of bool, shape (n,)
        True for finite coordinates with latitudes within 90 degrees and longitudes within 720 degrees.
    """
    with np.errstate(invalid="ignore"):
        return (np.abs(latitude) <= 90.0) & (np.abs(longitude) <= 720.0)


def locate(latitude: np.ndarray, longitude: np.ndarray, order: int, convention: Latitude) -> np.ndarray:
    """Return the nested ids of the cells that contain points.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
        All must be valid (`valid_coordinates`): mortie does not refuse a latitude of 95, for example.
        Longitudes beyond 180 degrees are wrapped.
    order : int
    convention : {"authalic", "geodetic-spherical"}

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    if len(latitude) == 0:
        return np.empty(0, np.int64)
    # The import takes 0.4 s.
    import mortie

    far = np.abs(longitude) >= 180.0
    if far.any():
        longitude = np.where(far, 180.0 - (180.0 - longitude) % 360.0, longitude)
    words = np.asarray(mortie.geo2mort(latitude, longitude, order=order, latitude=convention), np.uint64)
    if order > MAX_PLAIN_ORDER:
        return np.asarray(mortie.mort2healpix(words)[0], np.int64)
    # A word begins with 4 bits for the base cell + 1, then 2 bits per order. mortie's own conversion takes half as long
    # as binning itself.
    return (words >> np.uint64(60 - 2 * order)).astype(np.int64) - (1 << 2 * order)


def child_index(latitude: np.ndarray, longitude: np.ndarray, cell: int, grid: Grid) -> np.ndarray:
    """Return the position of each segment's child cell within ``cell``.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
    cell : int
        Nested id at ``grid.parent_order``.
    grid : Grid

    Returns
    -------
    ndarray of int64, shape (n,)
        0 to ``grid.children - 1``; `OUTSIDE` for segments in other cells; `INVALID` for coordinates that
        cannot be binned.
    """
    valid = valid_coordinates(latitude, longitude)
    child = np.where(valid, OUTSIDE, INVALID)
    near = surrounds(cell, grid).among(latitude, longitude, valid)
    ids = locate(latitude[near], longitude[near], grid.child_order, grid.latitude)
    child[near] = np.where(ids >> grid.shift == cell, ids & (grid.children - 1), OUTSIDE)
    return child


@dataclass(frozen=True)
class Surrounds:
    """A box of longitude and latitude, in degrees, that contains a cell."""

    south: float
    """Southernmost latitude."""
    north: float
    """Northernmost latitude."""
    longitude: float
    """Longitude of the cell's centre."""
    reach: float
    """Extent in longitude to each side of the centre; 180 if the box contains a pole."""

    def among(self, latitude: np.ndarray, longitude: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return the positions of the valid points in the box, ascending.

        Parameters
        ----------
        latitude, longitude : ndarray, shape (n,), degrees
        valid : ndarray of bool, shape (n,)
            Result of `valid_coordinates`.
        """
        with np.errstate(invalid="ignore"):
            near = np.flatnonzero(valid & (latitude >= self.south) & (latitude <= self.north))
        if self.reach >= 180.0 or len(near) == 0:
            return near
        aside = (longitude[near] - self.longitude + 180.0) % 360.0 - 180.0
        return near[np.abs(aside) <= self.reach]


@lru_cache(maxsize=64)
def surrounds(cell: int, grid: Grid) -> Surrounds:
    """Return a box that contains a cell, which discards most points cheaply before `locate`.

    No point of a cell is farther than ``1.2 / nside`` radians from its centre (healpy's ``max_pixrad`` is below
    ``1.07 / nside``), and authalic and geodetic latitudes differ by less than 0.13 degrees.

    Parameters
    ----------
    cell : int
        Nested id at ``grid.parent_order``.
    grid : Grid
    """
    import mortie

    words = nested_to_word(np.array([cell]), grid.parent_order)
    (centre,), (longitude,) = (each.tolist() for each in mortie.mort2geo(words, latitude=grid.latitude))
    radius = math.degrees(1.2 / (1 << grid.parent_order)) + 0.2
    highest = abs(centre) + radius
    ratio = math.sin(math.radians(radius)) / math.cos(math.radians(highest)) if highest < 90.0 else 1.0
    reach = math.degrees(math.asin(ratio)) if ratio < 1.0 else 180.0
    return Surrounds(centre - radius, centre + radius, longitude, reach)


def nested_children(cells: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the nested ids of the children of each cell.

    Parameters
    ----------
    cells : ndarray of int, shape (n,)
        Nested ids at ``grid.parent_order``.
    grid : Grid

    Returns
    -------
    ndarray of uint64, shape (n, grid.children)
    """
    first = np.asarray(cells, np.uint64) << np.uint64(grid.shift)
    return first[:, None] + np.arange(grid.children, dtype=np.uint64)


def nested_to_decimal(nested: np.ndarray, order: int) -> np.ndarray:
    """Convert nested ids to signed decimal ids.

    The sign and the first digit (1 to 6) give the base cell; each order adds one digit (1 to 4).

    Parameters
    ----------
    nested : ndarray of int, shape (n,)
    order : int
        At most 18.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    CellError
        If the order is above 18, as the ids do not fit in 64 bits.
    """
    if order > MAX_DECIMAL_ORDER:
        raise CellError(
            f"signed decimal ids of order {order} do not fit in 64 bits; use at most order {MAX_DECIMAL_ORDER}"
        )
    nested = np.asarray(nested, np.int64)
    base = nested >> 2 * order
    decimal = base % 6 + 1
    for level in range(order - 1, -1, -1):
        decimal = decimal * 10 + ((nested >> 2 * level) & 3) + 1
    return np.where(base < 6, decimal, -decimal)


def nested_to_word(nested: np.ndarray, order: int) -> np.ndarray:
    """Convert nested ids to mortie's packed words.

    Parameters
    ----------
    nested : ndarray of int, shape (n,)
    order : int

    Returns
    -------
    ndarray of uint64, shape (n,)
    """
    import mortie

    nested = np.asarray(nested, np.int64)
    base = nested >> 2 * order
    return np.asarray(mortie.norm2mort(nested - (base << 2 * order), base, order), np.uint64)


def format_cell(cell: int, order: int) -> str:
    """Return the signed decimal id of a cell, which is printed and used as a key.

    Parameters
    ----------
    cell : int
        Nested id.
    order : int
    """
    base, digits = cell >> 2 * order, "".join(str((cell >> 2 * i & 3) + 1) for i in range(order - 1, -1, -1))
    return f"{'' if base < 6 else '-'}{base % 6 + 1}{digits}"


def order_of(text: str) -> int:
    """Return the order of a signed decimal id in the form of `format_cell`."""
    return len(text.removeprefix("-")) - 1


def parse_cell(cell: object, order: int) -> int:
    """Parse the id of a cell in any of its forms.

    Parameters
    ----------
    cell : str, int or pair of int
        A signed decimal id ("-6134114" or -6134114), a packed word (14034060863816597510), or a
        nested id with its order ("6/45763" or (6, 45763)).
    order : int
        The order that the cell must have.

    Returns
    -------
    int
        Nested id.

    Raises
    ------
    CellError
        If the id has none of these forms, or the cell is of another order.

    Examples
    --------
    >>> parse_cell("-6134114", 6), parse_cell(14034060863816597510, 6), parse_cell("6/45763", 6)
    (45763, 45763, 45763)
    """
    if isinstance(cell, (tuple, list)) and len(cell) == 2:
        cell = f"{cell[0]}/{cell[1]}"
    text = str(cell).strip()
    try:
        return _parse(text, order)
    except ValueError as problem:
        raise CellError(
            f"cell {text!r}: {problem}; give an order-{order} cell as a signed decimal id (such as "
            f"{format_cell(11 << 2 * order, order)}), a packed word or {order}/<nested id>"
        ) from problem


def _parse(text: str, order: int) -> int:
    if "/" in text:
        parts = text.split("/")
        if len(parts) != 2 or not all(part.isascii() and part.isdecimal() for part in parts):
            raise ValueError("it is not <order>/<nested id>")
        its_order, nested = (int(part) for part in parts)
        if its_order != order:
            raise ValueError(f"its order is {its_order}")
        if not 0 <= nested < 12 << 2 * order:
            raise ValueError(f"nested ids of order {order} go from 0 to {(12 << 2 * order) - 1}")
        return nested
    digits = text.removeprefix("-")
    if digits[:1] in set("123456") and set(digits[1:]) <= set("1234") and len(digits) <= MAX_ORDER + 1:
        if len(digits) - 1 != order:
            # A packed word may look like a decimal id of another order.
            with suppress(ValueError):
                return _parse_word(int(text), order)
            raise ValueError(f"its order is {len(digits) - 1}")
        nested = int(digits[0]) - 1 + 6 * text.startswith("-")
        for digit in digits[1:]:
            nested = nested << 2 | int(digit) - 1
        return nested
    return _parse_word(int(text), order)


def _parse_word(word: int, order: int) -> int:
    import mortie

    if not 1 << 60 <= word < 13 << 60:
        raise ValueError("it is not an id")
    its_order = int(mortie.orders_of(np.array([word], np.uint64))[0])
    nested, _ = mortie.mort2healpix(np.uint64(word))
    if its_order != order or int(nested_to_word(np.array([nested]), order)[0]) != word:
        raise ValueError(f"as a packed word it has order {its_order}")
    return int(nested)


def ellipsoid(convention: Latitude) -> dict[str, Any]:
    """Return the ellipsoid for which xdggs places the ids of a latitude convention correctly."""
    if convention == "authalic":
        return {"name": "WGS84", "semimajor_axis": 6378137.0, "inverse_flattening": 298.257223563}
    return {"name": "sphere", "radius": 6371000.0}
