"""What the STAC item of a result tells of its files, and whether these are whole."""

import hashlib
from collections.abc import Mapping
from typing import Any

SUFFIXES = {"data": "tif", "thumbnail": "png"}
"""Suffix of the file of each asset."""


def file_facts(content: bytes) -> dict[str, Any]:
    """Return size and checksum of a file, as STAC's file extension has them: a multihash of SHA-256."""
    return {"file:size": len(content), "file:checksum": f"1220{hashlib.sha256(content).hexdigest()}"}


def is_whole(item: Mapping[str, Any], key: str, sizes: Mapping[str, int]) -> bool:
    """Return True if the files of a result are there, with the sizes that its item tells.

    Parameters
    ----------
    item : mapping
        STAC item.
    key : str
        Key of the result without suffix.
    sizes : mapping
        Size of each object by key.
    """
    assets = item.get("assets", {})
    return all(
        sizes.get(f"{key}.{suffix}") == assets.get(asset, {}).get("file:size", -1) for asset, suffix in SUFFIXES.items()
    )
