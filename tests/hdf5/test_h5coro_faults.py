"""The faults of h5coro that `maggjob.hdf5.h5coro_fixes` mends, shown with h5coro itself.

A test here fails when h5coro no longer has the fault: then the class that it names can go. Each case has a sound
twin, which h5coro reads as h5py does: so it is the fault, and nothing else of the file, that h5coro fails on.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import pytest
from h5coro.h5coro import H5Coro
from h5coro.h5dataset import FatalError, H5Dataset

from maggjob.errors import CorruptError, GranuleError, UnsupportedError
from maggjob.hdf5 import file as hdf5, h5coro_fixes as fixes
from maggjob.hdf5.file import Hdf5File
from maggjob.hdf5.h5coro_fixes import CheckedDataset, H5coroDriver
from maggjob.hdf5.h5coro_speed import CachedFields, MessagesAsWholes

OLD, NEW = None, ("v108", "v108")  # superblock 0, as in native granules, and 2, as in NSIDC's subsets
NUMBERS = np.arange(20)
NO_FAULT = {
    CachedFields: "it only saves time",
    MessagesAsWholes: "it only saves time",
    fixes.SoftLinks: "h5coro refuses them, too, with an error that may stand for damage",
    fixes.LayoutsOfOtherVersions: "h5coro refuses them, too, with an error that may stand for damage",
    fixes.HolesInChunkTables: "HDF5, too, gives fill for chunks that are not there; see test_file.py for the check",
}
"""Classes of which no fault can be shown, and why."""

Write = Callable[[h5py.File], Any]


def made(write: Write, libver: Any = OLD) -> bytes:
    """Content of a file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        write(file)
    return buffer.getvalue()


def by_h5coro(content: bytes, line: int = 1 << 22) -> H5Coro:
    return H5Coro(lambda position, size: content[position : position + size], H5coroDriver, cacheLineSize=line)


def by_us(content: bytes) -> Hdf5File:
    return Hdf5File(lambda position, size: content[position : position + size], "granule.h5")


# ---- what is asked for, and the answers of h5coro, of maggjob and of h5py


@dataclass(frozen=True)
class Rows:
    """Rows of a dataset; None when there is no such dataset."""

    path: str = "d"
    start: int = 0
    stop: int = 20

    def h5coro(self, file: H5Coro) -> Any:
        options = {"earlyExit": True, "enableAttributes": False}
        if H5Dataset(file, self.path, metaOnly=True, **options).meta.typeSize == 0:
            return None
        return H5Dataset(file, self.path, [(self.start, self.stop)], metaOnly=False, **options).values

    def maggjob(self, file: Hdf5File) -> Any:
        return None if file.info(self.path) is None else file.rows(self.path, self.start, self.stop)

    def h5py(self, file: h5py.File) -> Any:
        return file[self.path][self.start : self.stop] if self.path in file else None


@dataclass(frozen=True)
class Fill:
    """The ``_FillValue`` of a dataset, shape (1,); None without one."""

    path: str = "d"

    def h5coro(self, file: H5Coro) -> Any:
        return file.inspectPath(self.path)[1].get("_FillValue")

    def maggjob(self, file: Hdf5File) -> Any:
        info = file.info(self.path)
        assert info is not None
        return info.attributes.get("_FillValue")

    def h5py(self, file: h5py.File) -> Any:
        return file[self.path].attrs.get("_FillValue")


def answer(ask: Callable[[Any], Any], file: Any) -> Any:
    """Return the answer: numbers, None, or an exception."""
    try:
        return ask(file)
    except Exception as problem:
        return problem


def same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


# ---- files


def plain(values: np.ndarray = NUMBERS, **options: Any) -> Write:
    return lambda file: file.create_dataset("d", data=values, **options)


def several_links(delete: bool) -> Write:
    def write(file: h5py.File) -> None:
        for i in range(20):  # more than eight are in dense storage
            file[f"name_{i}"] = np.arange(i, i + 20)
        file["other name"] = file["name_5"]  # so that the dataset stays
        if delete:
            del file["name_5"]

    return write


def named(*names: str) -> Write:
    """Datasets with names that claim to be ASCII, as those of programs that do not care."""

    def write(file: h5py.File) -> None:
        for name in names:
            space, kind = h5py.h5s.create_simple((20,)), h5py.h5t.NATIVE_INT64
            h5py.h5d.create(file.id, name.encode(), kind, space).write(h5py.h5s.ALL, h5py.h5s.ALL, NUMBERS)

    return write


def names_without_end() -> bytes:
    content = bytearray(made(named(*[f"{'long' * 10}{i}" for i in range(30)], "d")))
    size, _, address = struct.unpack_from("<QQQ", content, content.index(b"HEAP") + 8)  # III.D of the specification
    content[address : address + size] = b"x" * size
    return bytes(content)


def of_bits(precision: int) -> Write:
    def write(file: h5py.File) -> None:
        kind, values = h5py.h5t.STD_I32LE.copy(), np.arange(-10, 10, dtype="i4")
        kind.set_precision(precision)
        number = h5py.h5d.create(file.id, b"d", kind, h5py.h5s.create_simple((20,)))
        number.write(h5py.h5s.ALL, h5py.h5s.ALL, values)

    return write


def with_fill(file: h5py.File) -> None:
    plain(np.arange(20, dtype="f4"))(file)
    file["d"].attrs["_FillValue"] = np.array([7], "f4")


def several_attributes(delete: bool) -> Write:
    def write(file: h5py.File) -> None:
        with_fill(file)
        for i in range(20):  # more than eight are in dense storage
            file["d"].attrs[f"number_{i}"] = i
        if delete:
            del file["d"].attrs["_FillValue"]

    return write


def filtered(*names: str) -> Write:
    """Chunks that go through filters in the order given."""

    def write(file: h5py.File) -> None:
        # numbers that do not deflate: inflated once, there are bytes enough for all of them
        values = np.random.default_rng(1).integers(0, 1 << 31, 20, "i4")
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk((10,))
        for name in names:
            layout.set_deflate(6) if name == "deflate" else layout.set_shuffle()
        space, kind = h5py.h5s.create_simple((20,)), h5py.h5t.py_create(values.dtype)
        h5py.h5d.create(file.id, b"d", kind, space, layout).write(h5py.h5s.ALL, h5py.h5s.ALL, values)

    return write


def masked(mask: int) -> Write:
    """A chunk that has not been shuffled, and says so by its mask: 1."""

    def write(file: h5py.File) -> None:
        values = np.arange(20, dtype="i4")
        dataset = file.create_dataset("d", data=values, chunks=(5,), compression="gzip", shuffle=True)
        if mask:
            dataset.id.write_direct_chunk((5,), zlib.compress(values[5:10].tobytes()), mask)

    return write


def of_sizes(*rows: int) -> Write:
    """Chunks of other numbers of rows than they should have, the first ones of four chunks."""

    def write(file: h5py.File) -> None:
        dataset = file.create_dataset("d", data=np.arange(1, 21), chunks=(5,), compression="gzip")
        for i, count in enumerate(rows):
            values = np.arange(5 * i + 1, 5 * i + 1 + count)
            dataset.id.write_direct_chunk((5 * i,), zlib.compress(values.tobytes()))

    return write


# ---- the faults


@dataclass(frozen=True)
class Fault:
    """A file that h5coro does not read as h5py does, and one alike that it does."""

    mended_by: type
    faulty: bytes
    sound: bytes
    ask: Rows | Fill = Rows()
    """The question, put to both files."""
    fails: type[Exception] | None = None
    """How h5coro fails on it; None: it gives a wrong answer without a word."""
    refused: type[GranuleError] | None = None
    """How maggjob refuses it; None: it gives the answer of h5py."""
    line: int = 1 << 22
    """Size of a line of h5coro's cache, for the faulty file."""
    saves_time: bool = False
    """Whether the class is good for that, too."""
    no_oracle: bool = False
    """Whether h5py has no answer either: what a short chunk lacks is memory that it never wrote."""


LONG = "a name of more than 16 letters"
FAULTS = {
    "a name across cache lines": Fault(
        fixes.FieldsAcrossCacheLines,
        made(lambda file: file.create_dataset(LONG, data=NUMBERS), NEW),
        made(lambda file: file.create_dataset(LONG, data=NUMBERS), NEW),  # in lines that are longer
        Rows(LONG),
        fails=AttributeError,
        line=16,
    ),
    "a deleted link": Fault(
        fixes.DeletedLinks,
        made(several_links(delete=True), NEW),
        made(several_links(delete=False), NEW),
        Rows("name_5"),
    ),
    "a name beyond ASCII": Fault(
        fixes.NamesLetterByLetter,
        made(named("a", "höhe", "z")),
        made(named("a", "hohe", "z")),
        Rows("z"),
        fails=UnicodeDecodeError,
        saves_time=True,
    ),
    "a name without an end": Fault(
        fixes.NamesLetterByLetter, names_without_end(), made(named("d")), refused=CorruptError, saves_time=True
    ),
    "a path through a dataset": Fault(
        fixes.PathsThroughDatasets,
        made(plain()),
        made(lambda file: file.create_group("d")),
        Rows("d/nothing"),
    ),
    "big-endian numbers": Fault(
        fixes.NumbersOfOtherFormats,
        made(plain(np.arange(20, dtype=">f4"))),
        made(plain(np.arange(20, dtype="<f4"))),
        refused=UnsupportedError,
    ),
    "numbers of 20 bits": Fault(
        fixes.NumbersOfOtherFormats, made(of_bits(20)), made(of_bits(32)), refused=UnsupportedError
    ),
    "an attribute of version 3": Fault(
        fixes.AttributesOfVersion3, made(with_fill, NEW), made(with_fill, OLD), Fill(), fails=FatalError
    ),
    "deflated twice": Fault(
        fixes.FiltersInAnotherOrder,
        made(filtered("deflate", "deflate")),
        made(filtered("shuffle", "deflate")),
        refused=UnsupportedError,
    ),
    "deflated before shuffled": Fault(
        fixes.FiltersInAnotherOrder,
        made(filtered("deflate", "shuffle")),
        made(filtered("shuffle", "deflate")),
        fails=zlib.error,
        refused=UnsupportedError,
    ),
    "rows of a contiguous dataset": Fault(
        fixes.ContiguousSlices, made(plain()), made(plain(chunks=(5,))), Rows(start=3, stop=10)
    ),
    "a filter mask": Fault(fixes.FilterMasks, made(masked(1)), made(masked(0)), refused=UnsupportedError),
    "a chunk too small, and one too large": Fault(
        fixes.ChunksOfAnotherSize,
        made(of_sizes(4, 6)),
        made(of_sizes(5, 5)),
        refused=CorruptError,
        saves_time=True,
        no_oracle=True,
    ),
}


def mended(correction: type, answered: Any, saves_time: bool = False) -> str:
    """Fail with advice if h5coro no longer has the fault."""
    otherwise = ", or keep it for the time that it saves" if saves_time else ""
    return f"h5coro mends this now: remove {correction.__name__}{otherwise} (h5coro answers {answered!r})"


@pytest.mark.parametrize("what", FAULTS)
def test_h5coro_still_has_this_fault(what: str) -> None:
    fault = FAULTS[what]
    with h5py.File(io.BytesIO(fault.faulty)) as file:
        right = None if fault.no_oracle else answer(fault.ask.h5py, file)
    answered = answer(fault.ask.h5coro, by_h5coro(fault.faulty, fault.line))
    if fault.fails is None:
        wrong = not isinstance(answered, Exception) and not same(answered, right)
    else:
        wrong = isinstance(answered, fault.fails)
    assert wrong, mended(fault.mended_by, answered, fault.saves_time)


@pytest.mark.parametrize("what", FAULTS)
def test_it_is_this_fault_that_h5coro_fails_on(what: str) -> None:
    fault = FAULTS[what]
    with h5py.File(io.BytesIO(fault.sound)) as file:
        right = fault.ask.h5py(file)
    assert same(fault.ask.h5coro(by_h5coro(fault.sound)), right)
    assert same(fault.ask.maggjob(by_us(fault.sound)), right)


@pytest.mark.parametrize("what", FAULTS)
def test_maggjob_gives_the_answer_of_h5py_or_none(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    fault = FAULTS[what]
    monkeypatch.setattr(hdf5, "CACHE_LINE", fault.line)
    if fault.refused:
        with pytest.raises(fault.refused, match=r"^granule\.h5: "):
            fault.ask.maggjob(by_us(fault.faulty))
        return
    with h5py.File(io.BytesIO(fault.faulty)) as file:
        right = fault.ask.h5py(file)
    assert same(fault.ask.maggjob(by_us(fault.faulty)), right)


# ---- what needs the other corrections to be seen


def without(*classes: type) -> type:
    """The dataset without some corrections."""
    return type("Without", tuple(base for base in CheckedDataset.__bases__ if base not in classes), {})


def test_a_deleted_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    """h5coro alone reads no attribute in dense storage, as they are all of version 3."""
    sound, faulty = (made(several_attributes(delete), NEW) for delete in (False, True))
    assert same(Fill().maggjob(by_us(sound)), [7])
    assert Fill().maggjob(by_us(faulty)) is None
    monkeypatch.setattr(hdf5, "CheckedDataset", without(fixes.DeletedAttributes))
    assert same(Fill().maggjob(by_us(sound)), [7])
    answered = answer(Fill().maggjob, by_us(faulty))
    assert same(answered, [7]), mended(fixes.DeletedAttributes, answered)


@pytest.mark.parametrize("libver", [OLD, NEW], ids=["superblock0", "superblock2"])
def test_what_saves_time_changes_no_answer(monkeypatch: pytest.MonkeyPatch, libver: Any) -> None:
    def write(file: h5py.File) -> None:
        several_links(delete=True)(file)
        several_attributes(delete=False)(file)

    def answers() -> list[str]:
        file = by_us(content)
        paths = ("d", "name_4", "name_5", "other name", "nothing/d")
        return [f"{file.info(path)}, {Rows(path).maggjob(file)}" for path in paths]

    content = made(write, libver)
    expected = answers()
    for saving in ((CachedFields,), (MessagesAsWholes,), (CachedFields, MessagesAsWholes)):
        monkeypatch.setattr(hdf5, "CheckedDataset", without(*saving))
        assert answers() == expected


def test_every_correction_is_shown_or_says_why_not() -> None:
    shown = {fault.mended_by for fault in FAULTS.values()} | {fixes.DeletedAttributes}
    assert not shown & NO_FAULT.keys()
    assert shown | NO_FAULT.keys() == set(CheckedDataset.__bases__)
