"""What two folders of results have in common: bytes first, and where those differ, how far values are apart."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maggjob.jobs.parts import unpack


@dataclass(frozen=True)
class Line:
    """Agreement of one kind of results."""

    what: str
    """Which results."""
    files: int
    """How many there are, on either side."""
    unequal: int
    """How many of them are not the same bytes, or are on one side only."""
    values: int = 0
    """Numbers in those that are on both sides."""
    differing: int = 0
    """How many of them are not the same number."""
    ulps: float = 0.0
    """How far the two farthest are apart, in units in the last place; of integers, their difference."""

    def __str__(self) -> str:
        return f"{self.what:<50}{self.files:>7}{self.unequal:>9}{self.values:>11,}{self.differing:>9,}{self.ulps:>7g}"


HEADER = f"{'files':>7}{'unequal':>9}{'values':>11}{'differ':>9}{'ulps':>7}"
SUMMARY = pytest.StashKey[str]()
"""Where the text is kept that is printed when all tests have run."""


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Units in the last place that two arrays are apart, shape (n,); infinite where they cannot be compared."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return np.full(max(one.size, other.size, 1), np.inf)
    apart = np.abs(_ranks(one) - _ranks(other)).astype(np.float64)
    if one.dtype.kind == "f":
        apart[np.isnan(one) & np.isnan(other)] = 0.0
        apart[np.isnan(one) != np.isnan(other)] = np.inf
    return apart


def _ranks(values: np.ndarray) -> np.ndarray:
    """Whole numbers in the order of the values, of neighbours one apart; wide enough to be subtracted."""
    if values.dtype.kind != "f":
        return values.astype(np.longdouble)
    bits = values.view(f"i{values.dtype.itemsize}")
    return np.where(bits < 0, np.iinfo(bits.dtype).min - bits, bits).astype(np.longdouble)


def no_values(content: bytes) -> dict[str, np.ndarray]:
    """Return no values, for an object that is only compared as bytes."""
    return {}


def values_of_part(content: bytes) -> dict[str, np.ndarray]:
    """The columns of a part."""
    part = unpack(content, "", 12).levels[12]
    return {"child": part.child, **part.values}


def values_of_array(content: bytes) -> dict[str, np.ndarray]:
    """Return the array that numpy saved."""
    return {"": np.load(io.BytesIO(content))}


def compare(
    what: str, one: Mapping[str, bytes], other: Mapping[str, bytes], values: Callable[[bytes], dict[str, np.ndarray]]
) -> Line:
    """Compare objects by their names."""
    unequal = sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())
    apart = [
        distances(array, theirs.get(column, np.empty(0)))
        for name in one.keys() & other.keys()
        for theirs in [values(other[name])]
        for column, array in values(one[name]).items()
    ]
    every = np.concatenate([*apart, np.empty(0)])
    differing = int(np.count_nonzero(every))
    return Line(what, len(one.keys() | other.keys()), unequal, every.size, differing, float(every.max(initial=0.0)))


def read(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(one: Path, other: Path, jobs: list[str]) -> Iterator[Line]:
    """Compare everything that two workers wrote: the indexes and parts of each job, and numbers."""
    for job in jobs:
        for kind, values in (("indexes", no_values), ("parts", values_of_part)):
            if (one / job / kind).is_dir() or (other / job / kind).is_dir():
                yield compare(f"{job}: {kind}", read(one / job / kind), read(other / job / kind), values)
    for name in sorted({folder.name for side in (one, other) for folder in (side / "numbers").iterdir()}):
        yield compare(name, read(one / "numbers" / name), read(other / "numbers" / name), values_of_array)


def tables(lines: Mapping[str, Sequence[Line]]) -> Iterator[str]:
    """The lines of each machine that was compared with aarch64."""
    for place, found in lines.items():
        yield f"{f'aarch64 and {place}':<50}{HEADER}"
        yield from map(str, found)
        yield ""


def remarks(said: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Return a remark on each place. Times on aarch64 under qemu say nothing about Lambda."""
    for place, remark in said.items():
        megabytes = remark["peak_memory"] / 1e6
        yield f"{place}: Python {remark['python']}, glibc {remark['glibc']}, at most {megabytes:.0f} MB"
        yield "  seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in remark["seconds"].items())
