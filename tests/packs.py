"""Packs of indexes in a local folder, for tests: what is in them, and damage to one index."""

from collections.abc import Callable
from pathlib import Path

from maggjob.granules.pack_format import SUFFIX, decode_pack, encode_pack
from maggjob.model.tasks import Granule


def packs(folder: str | Path) -> list[Path]:
    """Return the paths of all packs in a folder."""
    return sorted(Path(folder).rglob(f"*{SUFFIX}"))


def stored_indexes(folder: str | Path) -> dict[str, bytes]:
    """Return the encoded index of each granule, by id; of several, the last by key."""
    return {
        name: bytes(content) for path in packs(folder) for name, content in decode_pack("", path.read_bytes()).items()
    }


def change_index(folder: str | Path, granule: str, change: Callable[[bytes], bytes]) -> None:
    """Change the bytes of one index in its pack, which keeps its key."""
    for path in packs(folder):
        members = {name: bytes(content) for name, content in decode_pack("", path.read_bytes()).items()}
        if granule in members:
            members[granule] = change(members[granule])
            named = [Granule(name, "") for name in members]
            path.write_bytes(encode_pack(named, list(members.values()), "")[1])
