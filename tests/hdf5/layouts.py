"""Odd but valid HDF5 layouts, as h5py and h5repack make them: files with the same values, stored otherwise."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ROWS = 1000
GROUP = "gt1l/land_ice_segments"
FILL = np.float32(3.4028235e38)
Write = Callable[[Path], None]
VERSIONS: dict[str, Any] = {
    "earliest": ("earliest", "v108"),
    "v108": ("v108", "v108"),
    "v110": ("v110", "v110"),
    "latest": ("latest", "latest"),
}


def columns() -> dict[str, np.ndarray]:
    """Return the values of every file, by name."""
    draw = np.random.default_rng(7)
    h = draw.normal(500.0, 9.0, ROWS).astype("f4")
    h[::50] = FILL
    return {
        "latitude": np.linspace(-75.5, -75.0, ROWS),
        "longitude": np.linspace(-100.0, -99.5, ROWS),
        "h_li": h,
        "h_li_sigma": draw.uniform(0.01, 0.2, ROWS).astype("f4"),
        "atl06_quality_summary": (np.arange(ROWS) % 3 == 0).astype("i1"),
        "segment_id": np.arange(ROWS, dtype="i4") + 70_000,
    }


def write(
    path: Path,
    *,
    file: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    make: Callable[[h5py.Group, str, np.ndarray], Any] | None = None,
    attribute: Callable[[Any], None] | None = None,
) -> None:
    """Write one beam."""
    with h5py.File(path, "w", **(file or {})) as opened:
        group = opened.create_group(GROUP)
        for name, values in columns().items():
            if make is not None:
                made = make(group, name, values)
            else:
                made = group.create_dataset(name, data=values, **({"chunks": (300,)} | (dataset or {})))
            if name.startswith("h_li"):
                attribute(made) if attribute else made.attrs.create("_FillValue", FILL)


def low_level(group: h5py.Group, name: str, values: np.ndarray, created: Any, dtype: Any = None) -> Any:
    """Create a dataset with a property list of HDF5 itself."""
    kind = dtype or h5py.h5t.py_create(values.dtype)
    made = h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(values.shape), created)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(values))
    return h5py.Dataset(made)


def pipeline(*steps: str) -> Callable[[h5py.Group, str, np.ndarray], Any]:
    """Return a writer with filters in this order."""

    def make(group: h5py.Group, name: str, values: np.ndarray) -> Any:
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((300,))
        for step in steps:
            {
                "deflate": lambda: created.set_deflate(4),
                "shuffle": created.set_shuffle,
                "fletcher32": created.set_fletcher32,
                "szip": lambda: created.set_szip(h5py.h5z.SZIP_NN_OPTION_MASK, 8),
                "lzf": lambda: created.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL),
            }[step]()
        return low_level(group, name, values, created)

    return make


def virtual(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write two halves and a virtual dataset over them."""
    half = ROWS // 2
    layout = h5py.VirtualLayout((ROWS,), values.dtype)
    for number, part in enumerate((values[:half], values[half:])):
        group.create_dataset(f"{name}_{number}", data=part)
        source = h5py.VirtualSource(".", f"{group.name}/{name}_{number}", (half,))
        layout[number * half : (number + 1) * half] = source
    return group.create_virtual_dataset(name, layout)


def soft(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write a dataset elsewhere, and a soft link to it."""
    made = group.file.create_dataset(f"store/{name}", data=values, chunks=(300,))
    group[name] = h5py.SoftLink(f"/store/{name}")
    return made


def relative(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write a dataset under another name, and a relative soft link."""
    made = group.create_dataset(f"deep/{name}", data=values)
    group[name] = h5py.SoftLink(f"deep/{name}")
    return made


def hard(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write a dataset with two names."""
    made = group.create_dataset(f"other_{name}", data=values, chunks=(100,), compression="gzip")
    group[name] = made
    return made


def compact(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write values into the header."""
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_layout(h5py.h5d.COMPACT)
    return low_level(group, name, values, created)


def resizable(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write a dataset in steps, each of which extends it."""
    made = group.create_dataset(name, data=values[:10], maxshape=(None,), chunks=(64,), compression="gzip")
    for end in range(110, ROWS + 1, 110):
        made.resize((end,))
        made[end - 110 if end > 110 else 10 : end] = values[end - 110 if end > 110 else 10 : end]
    made.resize((ROWS,))
    made[:] = values
    return made


def skipping(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write one chunk without its filters."""
    made = group.create_dataset(name, (ROWS,), values.dtype, chunks=(250,), compression="gzip")
    made[:] = values
    made.id.write_direct_chunk((250,), values[250:500].tobytes(), 1)
    return made


def committed(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write a dataset of a type that has a name."""
    group[f"type_{name}"] = values.dtype
    return group.create_dataset(name, data=values, dtype=group[f"type_{name}"], chunks=(300,))


def early(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Allocate all chunks before any is written: the implicit index of version 4."""
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((128,))
    created.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    return low_level(group, name, values, created)


def narrow(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write integers of 20 bits in four bytes."""
    if values.dtype != np.int32:
        return group.create_dataset(name, data=values)
    kind = h5py.h5t.NATIVE_INT32.copy()
    kind.set_precision(20)
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made = h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(values.shape), created)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, values, h5py.h5t.NATIVE_INT32)
    return h5py.Dataset(made)


def flags(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write flags as an enumeration."""
    if values.dtype != np.int8:
        return group.create_dataset(name, data=values, chunks=(300,))
    return group.create_dataset(name, data=values, dtype=h5py.enum_dtype({"good": 0, "bad": 1}, "i1"), chunks=(300,))


def truths(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write flags as h5py writes booleans."""
    return group.create_dataset(name, data=values.astype(bool) if values.dtype == np.int8 else values)


def many(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write beside many other datasets, each with many attributes."""
    for number in range(60):
        other = group.create_dataset(f"{name}_{number:03}", data=np.arange(3))
        other.attrs["x"] = number
    made = group.create_dataset(name, data=values, chunks=(10,))
    for number in range(20):
        made.attrs[f"note_{number}"] = "x" * 50
    return made


def scaled(group: h5py.Group, name: str, values: np.ndarray) -> Any:
    """Write integers with HDF5's own packing, without loss."""
    if values.dtype.kind == "f":
        return group.create_dataset(name, data=values, chunks=(300,))
    return group.create_dataset(name, data=values, chunks=(300,), scaleoffset=0)


def retyped(kinds: dict[str, str]) -> Callable[[h5py.Group, str, np.ndarray], Any]:
    """Return a writer that stores kinds of numbers in another type."""

    def make(group: h5py.Group, name: str, values: np.ndarray) -> Any:
        kind = kinds.get(values.dtype.str[1:], values.dtype.str)
        return group.create_dataset(name, data=values.astype(kind), chunks=(300,), compression="gzip")

    return make


def without_times(**file: Any) -> Write:
    """Return a writer of object headers with times, order of creation, or neither."""

    def writer(path: Path) -> None:
        write(path, file={"track_order": True} | file)

    return writer


def repacked(*options: str) -> Write:
    """Return a writer that has h5repack rewrite a plain file."""

    def writer(path: Path) -> None:
        plain = path.with_suffix(".plain.h5")
        write(plain, dataset={"compression": "gzip", "shuffle": True})
        subprocess.run(["h5repack", *options, str(plain), str(path)], check=True, capture_output=True)
        plain.unlink()

    return writer


def of_widths(size: int) -> Write:
    """Return a writer of files with addresses of some bytes."""

    def writer(path: Path) -> None:
        created = h5py.h5p.create(h5py.h5p.FILE_CREATE)
        created.set_sizes(size, size)
        with h5py.File(h5py.h5f.create(str(path).encode(), h5py.h5f.ACC_TRUNC, created)) as opened:
            group = opened.create_group(GROUP)
            for name, values in columns().items():
                made = group.create_dataset(name, data=values, chunks=(300,))
                if name.startswith("h_li"):
                    made.attrs.create("_FillValue", FILL)

    return writer


def _fill_of(kind: str) -> Callable[[Any], None]:
    def attribute(made: Any) -> None:
        match kind:
            case "big-endian":
                made.attrs.create("_FillValue", FILL, dtype=">f4")
            case "array":
                made.attrs.create("_FillValue", np.array([FILL]))
            case "committed":
                made.file[f"fill_{made.name.replace('/', '_')}"] = np.dtype("f4")
                made.attrs.create("_FillValue", FILL, dtype=made.file[f"fill_{made.name.replace('/', '_')}"])
            case "double":
                made.attrs.create("_FillValue", float(FILL))
            case "missing_value":
                made.attrs.create("missing_value", FILL)
            case "text":
                made.attrs.create("_FillValue", FILL)
                made.attrs["units"] = "meters"
                made.attrs["long_name"] = np.bytes_("height of land ice")
            case "dense":
                made.attrs.create("_FillValue", FILL)
                for number in range(30):
                    made.attrs[f"note_{number}"] = np.arange(20)

    return attribute


FILTERS: dict[str, dict[str, Any]] = {
    "contiguous": {"chunks": None},
    "chunked": {},
    "gzip": {"compression": "gzip"},
    "gzip shuffle": {"compression": "gzip", "shuffle": True},
    "shuffle": {"shuffle": True},
    "lzf": {"compression": "lzf"},
    "lzf shuffle": {"compression": "lzf", "shuffle": True},
    "szip": {"compression": "szip"},
    "fletcher32": {"fletcher32": True},
    "gzip fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "one chunk": {"chunks": (ROWS,), "compression": "gzip"},
    "one row": {"chunks": (1,)},
    "larger chunk": {"chunks": (10_000,), "maxshape": (None,), "compression": "gzip"},
    "unlimited": {"maxshape": (None,), "chunks": (77,), "compression": "gzip"},
    "limited": {"maxshape": (5000,), "chunks": (100,)},
    "many chunks": {"chunks": (3,), "compression": "gzip"},
}
WRITERS: dict[str, Callable[[h5py.Group, str, np.ndarray], Any]] = {
    "deflate twice": pipeline("deflate", "deflate"),
    "deflate before shuffle": pipeline("deflate", "shuffle"),
    "fletcher32 first": pipeline("fletcher32", "deflate"),
    "shuffle twice": pipeline("shuffle", "shuffle", "deflate"),
    "all": pipeline("shuffle", "lzf", "deflate", "fletcher32"),
    "szip deflate": pipeline("szip", "deflate"),
    "virtual": virtual,
    "soft": soft,
    "relative soft": relative,
    "hard": hard,
    "compact": compact,
    "resizable": resizable,
    "skipped filter": skipping,
    "committed": committed,
    "early": early,
    "20 bits": narrow,
    "enumeration": flags,
    "boolean": truths,
    "many": many,
    "scaleoffset": scaled,
    "big-endian": retyped({"f4": ">f4", "f8": ">f8", "i4": ">i4"}),
    "big-endian integers": retyped({"i4": ">i4"}),
    "unsigned": retyped({"i4": "u2", "i1": "u1"}),
    "wide": retyped({"f4": "f8", "i4": "i8", "i1": "i2"}),
    "single coordinates": retyped({"f8": "f4"}),
    "half": retyped({"f4": "f8", "i1": "f2"}),
}
ATTRIBUTES = ("big-endian", "array", "committed", "double", "missing_value", "text", "dense")
FILES: dict[str, Write] = {
    **{f"user block of {size}": (lambda p, s=size: write(p, file={"userblock_size": s})) for size in (512, 1024, 8192)},  # type: ignore[misc]
    **{f"addresses of {size}": of_widths(size) for size in (2, 4)},
    "order": without_times(),
    "order latest": without_times(libver=VERSIONS["latest"]),
    **{
        f"space {strategy}": (lambda p, s=strategy: write(p, file={"fs_strategy": s, "fs_persist": True}))  # type: ignore[misc]
        for strategy in ("fsm", "page", "aggregate", "none")
    },
    "split user block latest": lambda p: write(p, file={"userblock_size": 512, "libver": VERSIONS["latest"]}),
}
REPACKED = {
    "latest": ("-L",),
    "low 1 high 1": ("-j", "1", "-k", "1"),
    "low 2 high 2": ("-j", "2", "-k", "2"),
    "gzip 9": ("-f", "GZIP=9"),
    "shuffle gzip": ("-f", "SHUF", "-f", "GZIP=1"),
    "fletcher": ("-f", "FLET"),
    "nothing": ("-f", "NONE"),
    "szip": ("-f", "SZIP=8,NN"),
    "contiguous": ("-l", "CONTI", "-f", "NONE"),
    "compact": ("-l", "COMPA", "-f", "NONE"),
    "chunk": ("-l", "CHUNK=37"),
    "latest contiguous": ("-L", "-l", "CONTI", "-f", "NONE"),
    "latest chunk": ("-L", "-l", "CHUNK=50", "-f", "GZIP=3"),
    "latest shared": ("-L", "-s", "5"),
    "shared": ("-s", "5"),
    "shared version 2": ("-j", "2", "-k", "2", "-s", "1"),
    "block": ("-u", "USER", "-b", "512"),
    "paged": ("-S", "PAGE", "-G", "4096"),
    "metadata block": ("-M", "4096"),
    "aligned": ("-t", "1", "-a", "4096"),
}


def layouts() -> Iterator[tuple[str, Write]]:
    """Yield a name and a writer of each layout."""
    for (version, bounds), (name, options) in product(VERSIONS.items(), FILTERS.items()):
        yield (
            f"{version}, {name}",
            lambda path, b=bounds, o=options: write(path, file={"libver": b}, dataset=o),  # type: ignore[misc]
        )
    for (version, bounds), (name, make) in product(VERSIONS.items(), WRITERS.items()):
        if name == "virtual" and version in ("earliest", "v108"):
            continue
        yield (
            f"{version}, {name}",
            lambda path, b=bounds, m=make: write(path, file={"libver": b}, make=m),  # type: ignore[misc]
        )
    for (version, bounds), kind in product(VERSIONS.items(), ATTRIBUTES):
        yield (
            f"{version}, fill {kind}",
            lambda path, b=bounds, k=kind: write(path, file={"libver": b}, attribute=_fill_of(k)),  # type: ignore[misc]
        )
    yield from FILES.items()
    if shutil.which("h5repack"):
        for name, given in REPACKED.items():
            options = tuple(str(Path(__file__)) if one == "USER" else one for one in given)
            yield f"h5repack {name}", repacked(*options)
