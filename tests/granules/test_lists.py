"""Tests of the lists of granules that tasks refer to."""

import hashlib
import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import maggjob
from maggjob.errors import StoreError
from maggjob.granules.lists import load_granules, write_lists
from maggjob.granules.pack_format import encode_pack
from maggjob.model.tasks import CellTask, Granule, GranuleList
from tests.strategies import few

TASK = maggjob.task("-6134114", granules=[])
PLACES = ("", "s3://bucket/", "s3://bucket/2018/10/14/", "https://host/a/", "/data/")

texts = st.text(max_size=20)
names = st.one_of(texts, st.sampled_from(("ATL06_20181014001049_02350102_003_01", "a", "h5")))


@st.composite
def granules(draw: st.DrawFn) -> Granule:
    """Draw a granule whose URL contains its id, contains it several times, or does not."""
    name = draw(names)
    rest = draw(st.sampled_from((f"{name}.h5", name, f"{name}/{name}.h5", "other.h5", "")) | texts)
    etags = st.none() | texts | st.binary(min_size=16, max_size=16).map(lambda some: f'"{some.hex()}"')
    size = draw(st.none() | st.integers(0, 1 << 53))
    index = draw(st.none() | st.sampled_from(("0123/abc-de.pack", "0123/x.idx")) | texts)
    return Granule(name, draw(st.sampled_from(PLACES)) + rest, size, draw(etags), index)


def with_list(where: GranuleList) -> CellTask:
    return replace(TASK, granules=where)


def read(where: Sequence[GranuleList]) -> list[tuple[Granule, ...]]:
    return [load_granules(with_list(one)) for one in where]


@few
@given(lists=st.lists(st.lists(granules(), max_size=6), max_size=5))
def test_lists_are_read_as_they_were_written(
    lists: list[list[Granule]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    where = write_lists(lists, str(folder))
    assert read(where) == [tuple(some) for some in lists]
    # The same lists give the same bytes under the same name, and each list is the range that its task names.
    assert write_lists(lists, str(folder)) == where
    (written,) = folder.iterdir()
    assert sum(one.size for one in where) == written.stat().st_size
    for one in where:
        own = written.read_bytes()[one.start : one.start + one.size]
        assert hashlib.sha256(own).hexdigest().startswith(one.digest)


def pairs_of_cycles(count: int, cycles: int) -> list[Granule]:
    """Return granules with names, URLs, sizes and ETags that share no more than those of an archive."""
    numbers, found = random.Random(6), []
    for number in range(count):
        start = datetime(2018, 10, 14) + timedelta(seconds=number * 91 * 86400 * cycles / count)
        cycle, rgt, region = 1 + number * cycles // count, numbers.randrange(1, 1388), numbers.randrange(10, 13)
        name = f"ATL06_{start:%Y%m%d%H%M%S}_{rgt:04d}{cycle:02d}{region:02d}_007_01"
        url = f"s3://nsidc-cumulus-prod-protected/ATLAS/ATL06/007/{start:%Y/%m/%d}/{name}.h5"
        found.append(Granule(name, url, numbers.randrange(10**7, 2 * 10**8), f'"{numbers.randbytes(16).hex()}"'))
    return found


@pytest.mark.parametrize(("cycles", "in_cell"), [(1, 66), (24, 1584)])
def test_a_granule_takes_less_than_47_bytes_in_a_list(tmp_path: Path, cycles: int, in_cell: int) -> None:
    # 47 bytes per pair are 100 MB for the 2.1 million pairs of 24 cycles over Antarctica.
    every = pairs_of_cycles(4 * in_cell, cycles)
    lists = [every[first::4] for first in range(4)]
    where = write_lists(lists, str(tmp_path))
    assert read(where) == [tuple(some) for some in lists]
    assert sum(one.size for one in where) < 47 * len(every)


@pytest.mark.parametrize(("cycles", "in_cell", "in_pack"), [(1, 66, 10), (24, 1584, 16)])
def test_the_pack_of_a_granule_takes_few_bytes_in_a_list(
    tmp_path: Path, cycles: int, in_cell: int, in_pack: int
) -> None:
    """Of the 16 indexes in a pack, a cell uses some 10 if they are of neighbouring tracks, all if they are of one."""
    every = pairs_of_cycles(in_cell, cycles)
    (plain,) = write_lists([every], str(tmp_path))
    shuffled = random.Random(1).sample(every, len(every))
    keys: dict[Granule, str] = {}
    for first in range(0, len(shuffled), in_pack):
        some = shuffled[first : first + in_pack]
        others = [replace(some[0], id=f"{first} {number}") for number in range(16 - len(some))]
        key, _ = encode_pack(some + others, [b""] * 16, "0123456789abcdef" * 4)
        keys |= dict.fromkeys(some, key)
    (packed,) = write_lists([[replace(granule, index=keys[granule]) for granule in every]], str(tmp_path))
    assert packed.size - plain.size < (11 if in_pack == 10 else 7.5) * in_cell


def test_a_damaged_list_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    every = pairs_of_cycles(20, 1)
    first, damaged, last = write_lists([every[:6], every[6:14], every[14:]], str(tmp_path))
    (written,) = tmp_path.iterdir()
    whole = written.read_bytes()
    for at in range(damaged.start, damaged.start + damaged.size):
        content = bytearray(whole)
        content[at] ^= 1 << at % 8
        written.write_bytes(content)
        with pytest.raises(StoreError, match="not those that were written; run again"):
            load_granules(with_list(damaged))
        assert load_granules(with_list(first)) == tuple(every[:6])
        assert load_granules(with_list(last)) == tuple(every[14:])
    written.write_bytes(whole[: damaged.start + damaged.size - 1])
    with pytest.raises(StoreError):
        load_granules(with_list(damaged))


BAD_PACKS: list[dict[str, list[object]]] = [{}, {"pack": []}, {"pack": [1]}, {"pack": ["0"]}]
COLUMNS = {"base": "s3://b/", "id": ["a"], "before": [""], "after": [".h5"], "size": [1], "etag": [None]}


@pytest.mark.parametrize(
    "content",
    [
        b"no list at all",
        zlib.compress(b"not JSON"),
        zlib.compress(b"[1]"),
        zlib.compress(b"[" * 100_000),
        zlib.compress(json.dumps(COLUMNS).encode())[:-1],
        *(zlib.compress(json.dumps({k: v for k, v in COLUMNS.items() if k != name}).encode()) for name in COLUMNS),
        *(zlib.compress(json.dumps(COLUMNS | {name: []}).encode()) for name in COLUMNS),
        zlib.compress(json.dumps(COLUMNS | {"before": [None]}).encode()),
        *(zlib.compress(json.dumps(COLUMNS | {"packs": ["p"]} | more).encode()) for more in BAD_PACKS),
    ],
)
def test_bytes_that_are_no_list_are_refused_without_a_digest_too(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(StoreError, match="are not a list of granules"):
        load_granules(with_list(GranuleList(str(tmp_path / "list"), 0, len(content))))
