"""Odd but valid layouts: read as h5py reads them, whichever library reads, and never after damage."""

import builtins
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maggjob.errors import GranuleError, TruncatedError, UnsupportedError
from maggjob.granules.granule import OpenGranule, open_granule
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Archive
from tests.hdf5.layouts import FILL, GROUP, ROWS, Write, layouts, virtual, write

LAYOUTS = dict(layouts())
LATEST: dict[str, Any] = {"libver": ("latest", "latest")}


def opened(path: Path, reader: str = "auto") -> OpenGranule:
    return open_granule(Granule(path.name, str(path)), Archive(), reader)


def compare(path: Path, reader: str = "auto") -> bool:
    """Compare every dataset with h5py; return whether h5py has read anything for maggjob, too."""
    granule = opened(path, reader)
    with h5py.File(path) as file:
        for name in ("latitude", "longitude", "h_li", "h_li_sigma", "atl06_quality_summary", "segment_id"):
            dataset, info = file[GROUP][name], granule.file.info(f"{GROUP}/{name}")
            assert info is not None
            for start, stop in ((0, ROWS), (37, 913), (500, 501), (4, 4)):
                values = granule.file.rows(f"{GROUP}/{name}", start, stop)
                expected = dataset[start:stop]
                assert np.array_equal(values, expected)
                assert values.dtype.itemsize == expected.dtype.itemsize
                assert values.dtype.isnative
            attributes = dataset.attrs
            fill = attributes.get("_FillValue", attributes.get("missing_value"))
            assert info.fill == (None if fill is None else float(np.ravel(fill)[0]))
    return granule.file.slow


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_right(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.h5"
    LAYOUTS[name](path)
    compare(path)


def test_there_are_as_many_as_were_tried() -> None:
    assert len(LAYOUTS) >= (218 if shutil.which("h5repack") else 200)


@pytest.mark.parametrize("name", ["v108, gzip shuffle", "earliest, chunked", "v110, fletcher32"])
def test_h5py_alone_reads_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.h5"
    LAYOUTS[name](path)
    assert compare(path, "h5py")


def test_layouts_of_granules_are_left_to_h5coro(tmp_path: Path, real_granules: list[Path]) -> None:
    for path in real_granules:
        granule = opened(path)
        with h5py.File(path) as file:
            for group in (group for group in file if group.startswith("gt")):
                granule.file.info(f"{group}/land_ice_segments/h_li")
        assert not granule.file.slow
    path = tmp_path / "a.h5"
    LAYOUTS["v108, gzip shuffle"](path)
    assert not compare(path)


@pytest.mark.parametrize("name", ["latest, gzip", "v108, fletcher32", "user block of 512", "earliest, soft"])
def test_h5coro_alone_refuses(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.h5"
    LAYOUTS[name](path)
    with pytest.raises(UnsupportedError, match=r"a\.h5"):
        compare(path, "h5coro")


def test_without_h5py_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    LAYOUTS["latest, gzip"](path)
    real = builtins.__import__

    def without(name: str, *given: Any) -> Any:
        if name.startswith(("h5py", "maggjob.hdf5.h5py_file")):
            raise ImportError(name)
        return real(name, *given)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnsupportedError, match=r"a\.h5: superblock version 3.*maggjob\[readers\].*--readers"):
        opened(path)


# --- What must be refused


def foreign(path: Path) -> None:
    """Values in another file, which HDF5 would replace by fill values if it were lost."""

    def make(group: h5py.Group, name: str, values: np.ndarray) -> Any:
        with h5py.File(path.with_name("other.h5"), "a") as other:
            other[name] = values
        layout = h5py.VirtualLayout((ROWS,), values.dtype)
        layout[:] = h5py.VirtualSource("other.h5", name, (ROWS,))
        return group.create_virtual_dataset(name, layout)

    write(path, file=LATEST, make=make)


def linked(path: Path) -> None:
    """A link to another file."""
    write(path.with_name("other.h5"))
    with h5py.File(path, "w", **LATEST) as file:
        file[GROUP] = h5py.ExternalLink("other.h5", f"/{GROUP}")


def external(path: Path) -> None:
    """Raw values in another file."""

    def make(group: h5py.Group, name: str, values: np.ndarray) -> Any:
        path.with_name(f"{name}.raw").write_bytes(values.tobytes())
        return group.create_dataset(name, (ROWS,), values.dtype, external=[(f"{name}.raw", 0, values.nbytes)])

    write(path, make=make)


def partly(path: Path) -> None:
    """A virtual dataset whose second half was deleted."""
    write(path, file=LATEST, make=virtual)
    with h5py.File(path, "a", **LATEST) as file:
        for name in ("latitude", "h_li"):
            del file[f"{GROUP}/{name}_1"]


def holes(path: Path) -> None:
    """Chunks that were never written."""

    def make(group: h5py.Group, name: str, values: np.ndarray) -> Any:
        made = group.create_dataset(name, (ROWS,), values.dtype, chunks=(100,), fletcher32=True)
        made[:800] = values[:800]
        return made

    write(path, make=make)


def unwritten(path: Path) -> None:
    """Values that were never written."""
    write(path, file=LATEST, make=lambda group, name, values: group.create_dataset(name, (ROWS,), values.dtype))


def circle(path: Path) -> None:
    """Soft links that lead to each other."""
    with h5py.File(path, "w", **LATEST) as file:
        file[f"{GROUP}/latitude"] = h5py.SoftLink(f"/{GROUP}/longitude")
        file[f"{GROUP}/longitude"] = h5py.SoftLink(f"/{GROUP}/latitude")


def packed(path: Path) -> None:
    """Values with a scale."""
    write(path, file=LATEST, attribute=lambda made: made.attrs.create("scale_factor", 0.1))


def words(path: Path) -> None:
    """Text instead of numbers."""
    write(path, file=LATEST, make=lambda group, name, values: group.create_dataset(name, data=values.astype("S20")))


def cube(path: Path) -> None:
    """Three dimensions."""
    write(path, make=lambda group, name, values: group.create_dataset(name, data=values.reshape(10, 10, 10)))


@pytest.mark.parametrize(
    "make", [foreign, linked, external, partly, holes, unwritten, circle, packed, words, cube], ids=lambda f: f.__name__
)
def test_what_may_be_wrong_is_refused(tmp_path: Path, make: Write) -> None:
    path = tmp_path / "a.h5"
    make(path)

    def read() -> None:
        granule = opened(path)
        for name in ("latitude", "h_li"):
            granule.file.info(f"{GROUP}/{name}")
            granule.file.rows(f"{GROUP}/{name}", 0, ROWS)

    with pytest.raises(GranuleError, match=r"a\.h5: "):
        read()


@pytest.mark.parametrize("name", ["latest, gzip", "v108, fletcher32", "v108, gzip", "user block of 512"])
def test_a_file_that_is_cut_is_tried_by_neither(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.h5"
    LAYOUTS[name](path)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(TruncatedError):
        opened(path)


def test_a_damaged_chunk_is_not_read_by_another_library(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    LAYOUTS["v108, gzip"](path)
    with h5py.File(path) as file:
        where = file[f"{GROUP}/h_li"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    content[where.byte_offset : where.byte_offset + 40] = bytes(40)
    path.write_bytes(content)
    granule = opened(path)
    with pytest.raises(GranuleError) as caught:
        granule.file.rows(f"{GROUP}/h_li", 0, ROWS)
    assert caught.value.reason == "corrupt"
    assert not granule.file.slow


def test_a_checksum_that_fails_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    LAYOUTS["v108, fletcher32"](path)
    with h5py.File(path) as file:
        where = file[f"{GROUP}/h_li"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    content[where.byte_offset + 8] ^= 1
    path.write_bytes(content)
    with pytest.raises(GranuleError) as caught:
        opened(path).file.rows(f"{GROUP}/h_li", 0, ROWS)
    assert caught.value.reason == "corrupt"


# --- Columns of two dimensions


def test_a_column_of_two_dimensions_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    values = np.arange(ROWS * 5, dtype="f4").reshape(ROWS, 5)
    with h5py.File(path, "w") as file:
        file.create_dataset("gt1l/best", data=values, chunks=(100, 5), compression="gzip").attrs["_FillValue"] = FILL
        file["gt1l/one"] = values[:, 0]
    granule = opened(path)
    info = granule.file.info("/gt1l/best[2]")
    assert info is not None
    assert (info.rows, info.dtype, info.fill) == (ROWS, np.float32, float(FILL))
    assert np.array_equal(granule.file.rows("/gt1l/best[2]", 10, 600), values[10:600, 2])
    assert granule.file.info("gt1l/none[0]") is None
    for wrong, why in (
        ("gt1l/best", "name a column"),
        ("gt1l/best[5]", "columns 0 to 4"),
        ("gt1l/one[0]", "leave out"),
    ):
        with pytest.raises(UnsupportedError, match=why):
            granule.file.info(wrong)
