"""Windows of datasets of several dimensions, against h5py."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, strategies as st

from maggjob.errors import CorruptError, GranuleError, MissingDatasetError
from maggjob.granules.granule import open_granule
from maggjob.granules.grid import GridReader
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Archive
from tests.strategies import few

SHAPES = {1: (37,), 2: (23, 41), 3: (2, 19, 30), 4: (2, 3, 11, 13)}
LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {"chunks": None},
    "chunks": {},
    "gzip": {"compression": "gzip"},
    "shuffle gzip": {"compression": "gzip", "shuffle": True},
    "shuffle": {"shuffle": True},
    "fletcher32": {"fletcher32": True},
    "lzf": {"compression": "lzf"},
    "whole": {"whole": True, "compression": "gzip", "shuffle": True},
    "small": {"small": True},
}


def reader(path: Path) -> GridReader:
    return GridReader(open_granule(Granule(path.name, str(path)), Archive()))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a file for each version of the format, with all layouts, types and numbers of dimensions."""
    made = {}
    draw = np.random.default_rng(3)
    for version, libver in {"0": None, "2": ("v108", "v108"), "3": ("latest", "latest")}.items():
        made[version] = tmp_path_factory.mktemp("grids") / f"{version}.h5"
        with h5py.File(made[version], "w", libver=libver) as file:
            for name, given_options in LAYOUTS.items():
                for rank, shape in SHAPES.items():
                    options = dict(given_options)
                    chunks = tuple(max(1, n // 3) for n in shape)
                    chunks = shape if options.pop("whole", False) else chunks
                    chunks = tuple(min(2, n) for n in shape) if options.pop("small", False) else chunks
                    dtype = ("i2", "f4", ">f8", "u1")[(rank + len(name)) % 4]
                    data = draw.integers(0, 200, shape).astype(dtype)
                    file.create_dataset(f"{name}/{rank}", data=data, **({"chunks": chunks} | options))
    return made


@few
@given(
    version=st.sampled_from("023"),
    layout=st.sampled_from(sorted(LAYOUTS)),
    rank=st.integers(1, 4),
    random=st.randoms(use_true_random=False),
)
def test_a_window_is_that_of_h5py(files: dict[str, Path], version: str, layout: str, rank: int, random: Any) -> None:
    path = f"{layout}/{rank}"
    ends = [sorted(random.sample(range(n + 1), 2)) for n in SHAPES[rank]]
    window = tuple(slice(*one) for one in ends)
    grid = reader(files[version])
    with h5py.File(files[version]) as file:
        expected = file[path][window]
        assert grid.info(path).shape == file[path].shape
        assert np.array_equal(grid.whole(path), file[path][:])
    values = grid.window(path, window)
    assert np.array_equal(values, expected)
    assert values.dtype.isnative


def test_many_chunks_make_a_deep_table(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = np.arange(300 * 300, dtype="i4").reshape(300, 300)
    with h5py.File(path, "w") as file:
        file.create_dataset("d", data=data, chunks=(3, 4))
    assert np.array_equal(reader(path).window("d", (slice(1, 299), slice(100, 201))), data[1:299, 100:201])


def test_a_large_contiguous_dataset_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = np.arange(2 * 900 * 500, dtype="i4").reshape(2, 900, 500)
    with h5py.File(path, "w") as file:
        file["d"] = data
    archive = Archive()
    grid = GridReader(open_granule(Granule("a", str(path)), archive))
    assert np.array_equal(grid.window("d", (slice(1, 2), slice(870, 900), slice(3, 5))), data[1:2, 870:900, 3:5])
    assert archive.bytes_read < path.stat().st_size / 2


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("holes", (10, 10), "i2", chunks=(5, 5))
        made[:5] = 1
        file.create_dataset("nothing", (10, 10), "i2")
    grid = reader(path)
    with pytest.raises(MissingDatasetError, match="no dataset none"):
        grid.info("none")
    for name in ("holes", "nothing"):
        with pytest.raises(CorruptError, match=name):
            grid.whole(name)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-1])
    with pytest.raises(GranuleError):
        reader(path)
