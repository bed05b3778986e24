"""Strategies for hypothesis that several tests share."""

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import settings, strategies as st

many = settings()  # those of the profile that tests/conftest.py has loaded
few = settings(max_examples=many.max_examples // 2)

EDGE_LATITUDE = math.degrees(math.asin(2 / 3))  # where HEALPix changes from equatorial to polar
LATITUDES = (90.0, -90.0, math.nextafter(90, 0), 89.9999999, -89.99999, 0.0, -0.0, EDGE_LATITUDE, -EDGE_LATITUDE)
LONGITUDES = (180.0, -180.0, 179.9999999, math.nextafter(-180, 0), 0.0, 45.0, -90.0, 359.9, 361.0, -360.0, 720.0)
INVALID = (math.nan, math.inf, -math.inf, 3.4028234663852886e38, -3.4028235e38)

latitudes = st.one_of(st.sampled_from(LATITUDES), st.floats(-90, 90), st.floats(-90, -60))
longitudes = st.one_of(st.sampled_from(LONGITUDES), st.floats(-180, 180), st.floats(-720, 720))
bad_latitudes = st.sampled_from((*INVALID, 95.0, -90.0000001, math.nextafter(90, 91)))
bad_longitudes = st.sampled_from((*INVALID, 720.1, -1e9))
orders = st.integers(0, 18)
conventions = st.sampled_from(("authalic", "geodetic-spherical"))


@st.composite
def points(
    draw: st.DrawFn, *, valid_only: bool = True, min_size: int = 1, max_size: int = 30
) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes; with ``valid_only=False`` some cannot be binned."""
    pair = st.tuples(latitudes, longitudes)
    if not valid_only:
        pair = st.one_of(pair, st.tuples(bad_latitudes, longitudes), st.tuples(latitudes, bad_longitudes))
    drawn = np.array(draw(st.lists(pair, min_size=min_size, max_size=max_size)), np.float64).reshape(-1, 2)
    return drawn[:, 0].copy(), drawn[:, 1].copy()


@st.composite
def cells(draw: st.DrawFn) -> tuple[int, int]:
    """An order from 0 to 18 and a nested id of it."""
    order = draw(orders)
    return order, draw(st.integers(0, (12 << 2 * order) - 1))


heights = st.floats(-500, 9000, width=32)
uncertainties = st.floats(0.0078125, 100, width=32)
large = st.floats(-1e100, 1e100)


@dataclass(frozen=True)
class Rows:
    """Segments and the child that each lies in."""

    child: np.ndarray
    children: int
    columns: dict[str, np.ndarray]

    def groups(self) -> list[tuple[int, dict[str, np.ndarray]]]:
        """Each child that has segments, ascending, with its columns as float64."""
        return [
            (int(c), {name: values[self.child == c].astype(np.float64) for name, values in self.columns.items()})
            for c in sorted(set(self.child.tolist()))
        ]


@st.composite
def rows(draw: st.DrawFn, values: st.SearchStrategy[float] = heights, dtype: str = "f4") -> Rows:
    """One to 60 segments in any of a few children: columns ``h`` of the values given, ``s`` positive."""
    children = draw(st.sampled_from((1, 4, 256, 4096, 4**8)))
    used = draw(st.lists(st.integers(0, children - 1), min_size=1, max_size=6, unique=True))
    drawn = draw(st.lists(st.tuples(st.sampled_from(used), values, uncertainties), min_size=1, max_size=60))
    child, h, s = zip(*drawn, strict=True)
    return Rows(np.array(child, np.int64), children, {"h": np.array(h, dtype), "s": np.array(s, "f4")})


ROW_FUNCTIONS = ("np.abs", "np.arctan", "np.cos", "np.degrees", "np.exp", "np.log", "np.log10", "np.radians")
ROW_FUNCTIONS += ("np.sin", "np.sqrt", "np.square", "np.tan", "numpy.sqrt")
constants = st.sampled_from(("2", "1.0", "0.5", "3", "1e-3", "-7"))
powers = st.sampled_from(("2", "3", "0.5", "-1", "-2", "2.0", "1"))


def _deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from("+ - * /".split())
    return st.one_of(
        st.builds("({} {} {})".format, inner, operators, inner),
        st.builds("({} {} {})".format, constants, operators, inner),
        st.builds("({} {} {})".format, inner, operators, constants),
        st.builds("({})**{}".format, inner, powers),
        st.builds("{}({})".format, st.sampled_from(ROW_FUNCTIONS), inner),
        st.builds("-({})".format, inner),
        st.builds("+{}".format, inner),
    )


row_expressions = st.recursive(st.sampled_from(("h", "s")), _deeper, max_leaves=8)
"""Arithmetic over the columns ``h`` and ``s``: one value per segment."""
