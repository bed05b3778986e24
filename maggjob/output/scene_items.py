"""The results of the scenes job that a store holds, by their STAC items."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from maggjob.errors import ExistsError
from maggjob.inputs.plain_json import load_json
from maggjob.model.scene_items import is_whole
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import RUN, run_folder

READERS = 16
"""Items that are read concurrently."""


def item_at(folder: Folder, key: str) -> dict[str, Any] | None:
    """Return the item of a result; None if it is damaged, or not one of maggjob.

    Parameters
    ----------
    folder : Folder
        The store.
    key : str
        Key of the result without suffix.
    """
    try:
        item = load_json(folder.get(f"{key}.json"))
        return item if "maggjob:digest" in item["properties"] else None
    except (ValueError, KeyError, TypeError):
        return None


def key_of(item: Mapping[str, Any]) -> str:
    """Return the key of a result without suffix."""
    return f"{item['properties']['maggjob:region']}/{item['id']}"


def items_of(folder: Folder, digest: str) -> list[dict[str, Any]]:
    """Return the items of all whole results of a configuration that a store holds, by region and day.

    Parameters
    ----------
    folder : Folder
        The store.
    digest : str
        Digest of the configuration.
    """
    sizes = folder.sizes()
    keys = sorted(key.removesuffix(".json") for key in sizes if key.endswith(".json") and key.count("/") == 1)
    with ThreadPoolExecutor(READERS) as pool:
        found = zip(keys, pool.map(lambda key: item_at(folder, key), keys), strict=True)
        return [
            item
            for key, item in found
            if item is not None and item["properties"]["maggjob:digest"] == digest and is_whole(item, key, sizes)
        ]


def check_index(store: str, there: Mapping[str, int], region: str | None) -> None:
    """Check that the index and the contact sheet in a store are those of a run, and may be replaced.

    Parameters
    ----------
    store : str
        Path or URL of the store.
    there : mapping
        Size of each object in it, by key.
    region : str or None
        Region of the bucket.

    Raises
    ------
    ExistsError
        If there is one, and no run has been at work in the store.
    """
    run = run_folder(store)
    foreign = [key for key in ("index.parquet", "contact.png") if key in there]
    if foreign and not (exists(run, region) and Folder(run, region).has(RUN)):
        raise ExistsError(f"{store}/{foreign[0]} is of no run; move it, or give another store")
