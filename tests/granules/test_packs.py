"""Packs of indexes: what is put in comes out, damage to one index is its own, and keys tell what is there."""

import os
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from maggjob.errors import IndexFileError
from maggjob.granules.index_format import index_digest
from maggjob.granules.index_store import ask_indexes, find_indexes, load_indexed, single_key
from maggjob.granules.lists import write_lists
from maggjob.granules.pack_format import CODE, DIGEST, HEAD, MOST, codes_in, decode_pack, encode_pack, index_code
from maggjob.model.tasks import Granule, IndexTask
from maggjob.storage.folder import Folder
from tests.granules.test_granule import RECIPE
from tests.strategies import few, many

RECIPE_DIGEST = "0123456789abcdef" * 4

granules = st.builds(
    Granule, st.text(max_size=60), st.just("s3://bucket/x"), st.none() | st.integers(0, 1 << 50), st.none()
)
members = st.lists(st.tuples(granules, st.binary(max_size=200)), max_size=MOST, unique_by=lambda one: one[0].id)


def some_granules(count: int) -> list[Granule]:
    return [Granule(f"ATL06_{number:04d}", f"/{number}.h5", 100 + number) for number in range(count)]


@many
@given(members)
def test_a_pack_comes_back_and_its_bytes_are_its_own(of: list[tuple[Granule, bytes]]) -> None:
    named, contents = [granule for granule, _ in of], [content for _, content in of]
    key, content = encode_pack(named, contents, RECIPE_DIGEST)
    assert encode_pack(named, [memoryview(one) for one in contents], RECIPE_DIGEST) == (key, content)
    found = decode_pack(key, content)
    assert [(name, bytes(one)) for name, one in found.items()] == [(g.id, one) for g, one in of]
    assert codes_in(key) == [index_code(granule) for granule in named]
    folder, name = key.split("/")
    assert folder == RECIPE_DIGEST[:16]
    # eCryptfs, the strictest file system in use, takes 143 characters.
    assert name == name.lower()
    assert len(name) <= 143
    other = encode_pack(named, [*contents[:-1], b"other" * 50], RECIPE_DIGEST)[0] if of else None
    assert other != key


@few
@given(members.filter(bool), st.data())
def test_damage_to_a_pack_is_refused_or_stays_in_one_index(
    of: list[tuple[Granule, bytes]], data: st.DataObject
) -> None:
    key, content = encode_pack([granule for granule, _ in of], [one for _, one in of], RECIPE_DIGEST)
    before = {granule.id: one for granule, one in of}
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    if bit // 8 < len(content) - sum(map(len, before.values())):
        with pytest.raises(IndexFileError):
            decode_pack(key, bytes(flipped))
    else:
        found = decode_pack(key, bytes(flipped))
        assert found.keys() == before.keys()
        assert sum(bytes(found[name]) != before[name] for name in before) == 1
    short = content[: data.draw(st.integers(0, len(content) - 1))]
    try:
        found = decode_pack(key, short)
    except IndexFileError:
        return
    assert [len(bytes(found[name])) for name in before] != [len(one) for one in before.values()]
    assert all(before[name].startswith(bytes(found[name])) for name in before)


@pytest.mark.parametrize("directory", [b"1", b"[1]", b'[["a"]]', b'[["a","b"]]', b"{", b"\xff", b'{"a": 1}'])
def test_a_directory_that_is_none_is_refused(directory: bytes) -> None:
    """Its checksum is right."""
    head = HEAD.pack(b"maggpack", 1, len(directory), zlib.crc32(directory))
    with pytest.raises(IndexFileError, match="its directory is no list of indexes"):
        decode_pack("key", head + directory)


def test_what_is_refused_is_told_by_key() -> None:
    _, content = encode_pack(some_granules(2), [b"one", b"two"], RECIPE_DIGEST)
    with pytest.raises(IndexFileError, match="the/key: 6 bytes that are no pack of indexes"):
        decode_pack("the/key", b"<html>")
    with pytest.raises(IndexFileError, match="the/key: version 7, expected 1"):
        decode_pack("the/key", content[:8] + b"\7\0" + content[10:])
    with pytest.raises(IndexFileError, match="the/key: its directory is damaged or cut short, it has 30 bytes"):
        decode_pack("the/key", content[:30])


@pytest.mark.parametrize(
    "key", ["0123/ATL06_x.77.idx", "0123/.pack", "0123/abc-123456.pack", "0123/abcde-1234.pack", "0123/abcde.pack"]
)
def test_other_keys_name_no_index(key: str) -> None:
    assert codes_in(key) == []
    assert codes_in(f"0123/{'a' * CODE}{'b' * CODE}-{'0' * DIGEST}.pack") == ["a" * CODE, "b" * CODE]


# ---- the folder


def put(folder: Folder, some: list[Granule], contents: list[bytes], age: float = 0.0) -> str:
    """Write a pack some seconds ago."""
    key, content = encode_pack(some, contents, RECIPE_DIGEST)
    folder.put(key, content)
    path = Path(folder.url) / key
    os.utime(path, (path.stat().st_mtime - age,) * 2)
    return key


def test_of_several_indexes_of_a_granule_the_newest_is_found(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path), create=True)
    a, b, c, d, e = some_granules(5)
    old = put(folder, [a, b, c], [b"a", b"b", b"c"], 100)
    new = put(folder, [b], [b"B"])
    folder.put(single_key(c, RECIPE_DIGEST), b"newer than the pack")
    folder.put(single_key(d, RECIPE_DIGEST), b"alone")
    folder.put(f"{RECIPE_DIGEST[:16]}/README", b"not ours")
    other = replace(a, size=7)  # of another size
    found = find_indexes([a, b, c, d, e, other], folder, RECIPE_DIGEST)
    keys = [old, new, single_key(c, RECIPE_DIGEST), single_key(d, RECIPE_DIGEST), None, None]
    assert [one.index for one in found] == keys
    assert [replace(one, index=None) for one in found] == [a, b, c, d, e, other]
    assert [one.index for one in find_indexes([a, b], folder, "f" * 64)] == [None, None]
    with ThreadPoolExecutor(2) as pool:
        asked = ask_indexes(found[:5], folder, pool)
        contents = [None if (one := index()) is None else bytes(one) for index in asked.each.values()]
    assert contents == [b"a", b"B", b"newer than the pack", b"alone", None]
    assert len(asked.sizes) == 4


def test_a_folder_is_listed_once_whatever_the_number_of_granules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, every = Folder(str(tmp_path), create=True), some_granules(100)
    for first in range(0, 90, 15):
        put(folder, every[first : first + 15], [b"x"] * 15)
    asked: Counter[str] = Counter()
    times, find = Folder.times, Folder.find
    monkeypatch.setattr(Folder, "times", lambda of, prefix="": asked.update(["list"]) or times(of, prefix))
    monkeypatch.setattr(Folder, "find", lambda of, key: asked.update([key]) or find(of, key))
    found = find_indexes(every, folder, RECIPE_DIGEST)
    with ThreadPoolExecutor(4) as pool:
        contents = [index() for index in ask_indexes(found, folder, pool).each.values()]
    assert [content is not None for content in contents] == [True] * 90 + [False] * 10
    assert sorted(asked.values()) == [1] * 7


def test_a_pack_that_holds_another_granule_of_the_same_code_has_no_index_of_this_one(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path), create=True)
    here, there = some_granules(2)
    key = put(folder, [here], [b"x"])
    with ThreadPoolExecutor(1) as pool:
        (index,) = ask_indexes([replace(there, index=key)], folder, pool).each.values()
        assert index() is None


def test_what_cannot_be_read_fails_for_its_granules_alone(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path), create=True)
    a, b, c, d = some_granules(4)
    good, bad = put(folder, [a, b], [b"a", b"b"]), put(folder, [c], [b"c"])
    (tmp_path / bad).write_bytes(b"no pack")
    where = [replace(a, index=good), replace(c, index=bad), replace(d, index="gone.pack"), replace(b, index=good)]
    with ThreadPoolExecutor(2) as pool:
        one, two, three, four = ask_indexes(where, folder, pool).each.values()
        assert [bytes(one() or b""), three(), bytes(four() or b"")] == [b"a", None, b"b"]
        with pytest.raises(IndexFileError):
            two()


def test_a_list_says_where_indexes_are_and_tasks_made_by_hand_look(tmp_path: Path) -> None:
    folder, (granule, _), digest = Folder(str(tmp_path / "i"), create=True), some_granules(2), index_digest(RECIPE)
    key, content = encode_pack([granule], [b"x"], digest)
    folder.put(key, content)
    task = IndexTask("x", RECIPE, (granule,), folder.url)
    assert [one.index for one in load_indexed(task, folder, digest)] == [key]
    (where,) = write_lists([[granule]], str(tmp_path))
    assert [one.index for one in load_indexed(replace(task, granules=where), folder, digest)] == [None]
