"""The folder of indexes: which granules have an index in it, and reading the indexes of some granules.

Indexes are stored in packs (`maggjob.granules.pack_format`). Earlier versions stored each index as an object of its
own; these are found and read as well.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime

from maggjob.granules.lists import load_granules
from maggjob.granules.pack_format import SUFFIX, codes_in, decode_pack, index_code, index_folder, index_name
from maggjob.model.tasks import CellTask, Granule, GranuleList, IndexTask
from maggjob.storage.folder import Folder


def single_key(granule: Granule, digest: str) -> str:
    """Return the key under which earlier versions stored the index of a granule.

    Parameters
    ----------
    granule : Granule
    digest : str
        `maggjob.granules.index_format.index_digest` of the recipe.
    """
    return f"{index_folder(digest)}/{index_name(granule)}.idx"


def find_indexes(granules: Sequence[Granule], folder: Folder, digest: str) -> tuple[Granule, ...]:
    """Return granules with the object that holds the index of each, by listing the folder once.

    If there are several, the newest counts: an index is written again if the older one is damaged, or its granule has
    changed.

    Parameters
    ----------
    granules : sequence of Granule
    folder : Folder
        Folder of indexes.
    digest : str
        `maggjob.granules.index_format.index_digest` of the recipe.

    Raises
    ------
    StoreError
        If the folder cannot be listed.
    """
    wanted = {index_code(granule): number for number, granule in enumerate(granules)}
    singles = {single_key(granule, digest): number for number, granule in enumerate(granules)}
    newest: dict[int, tuple[datetime, bool, str]] = {}
    for key, written in folder.times(index_folder(digest)).items():
        numbers = [wanted[code] for code in codes_in(key) if code in wanted]
        if key in singles:
            numbers.append(singles[key])
        for number in numbers:
            found = (written, is_pack(key), key)
            newest[number] = max(newest.get(number, found), found)
    return tuple(
        replace(granule, index=newest[number][2] if number in newest else None)
        for number, granule in enumerate(granules)
    )


def load_indexed(task: CellTask | IndexTask, folder: Folder, digest: str) -> tuple[Granule, ...]:
    """Return the granules of a task, and where their indexes are (`maggjob.granules.lists.load_granules`).

    The client has listed the folder for all tasks of a run, and written down what it found in their lists. For a task
    that contains its granules, as one made by hand does, the folder is listed here.

    Parameters
    ----------
    task : CellTask or IndexTask
    folder : Folder
        Folder of indexes.
    digest : str
        `maggjob.granules.index_format.index_digest` of the recipe.
    """
    granules = load_granules(task)
    if isinstance(task.granules, GranuleList) or all(granule.index is not None for granule in granules):
        return granules
    return find_indexes(granules, folder, digest)


def is_pack(key: str) -> bool:
    """Return True if a key in the folder of indexes is that of a pack, not of a single index."""
    return key.endswith(SUFFIX)


AskedIndex = Callable[[], memoryview | None]
"""Function that waits for an encoded index. It returns None if there is none, and raises a StoreError or an
IndexFileError if it cannot be read."""


@dataclass(frozen=True)
class AskedIndexes:
    """The indexes of some granules, which have been requested."""

    each: Mapping[str, AskedIndex]
    """One per granule, by its id. The packs stay in memory until this object is gone."""
    sizes: Sequence[int] = field(default_factory=list)
    """Bytes of each object, as requests end."""


def ask_indexes(granules: Sequence[Granule], folder: Folder, pool: Executor) -> AskedIndexes:
    """Request the indexes of granules. Each pack is read once, and whole.

    Parameters
    ----------
    granules : sequence of Granule
        Granules that say where their indexes are, each once.
    folder : Folder
        Folder of indexes.
    pool : Executor
        Runs reads concurrently.
    """
    sizes: list[int] = []
    keys = dict.fromkeys(granule.index for granule in granules if granule.index is not None)
    asked = {key: pool.submit(_read, folder, key, sizes) for key in keys}

    def wait_for(granule: Granule) -> AskedIndex:
        if granule.index is None:
            return lambda: None
        name, found = granule.id, asked[granule.index]
        return lambda: found.result().get(name, found.result().get(ANY))

    return AskedIndexes({granule.id: wait_for(granule) for granule in granules}, sizes)


ANY = ""
"""Stands for the granule of an index that is an object of its own: its key names it, the object does not."""


def _read(folder: Folder, key: str, sizes: list[int]) -> Mapping[str, memoryview]:
    """Return the encoded indexes in an object, by id of the granule; none if it does not exist."""
    content = folder.find(key)
    sizes.append(len(content or b""))
    if content is None:
        return {}
    return decode_pack(key, content) if is_pack(key) else {ANY: memoryview(content)}
