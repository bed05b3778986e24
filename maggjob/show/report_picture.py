"""The picture of a report: a small map of the result, or the picture that the job made itself."""

import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maggjob.errors import InputError, StoreError
from maggjob.show.cell_result import read_result
from maggjob.show.map_sheet import draw_sheet
from maggjob.show.map_text import default_variables
from maggjob.show.maps import check_matplotlib, content_of, panel_of, region_of, time_position
from maggjob.storage.folder import Folder, exists

PIXELS = 640
"""Pixels along the longer side of the map."""
COLOURS = 128
"""Colours of the picture's file."""
MOST_BYTES = 1_500_000
"""Size above which a picture of a job is left out."""


def picture_of(store: str, summary: Mapping[str, Any], region: str | None = None) -> tuple[bytes | None, str]:
    """Return the picture of a result as PNG, and what it shows; None and why, if there is none.

    Parameters
    ----------
    store : str
        Path or URL of the result.
    summary : mapping
        Summary of its run.
    region : str, optional
        Region of the bucket.
    """
    if not summary.get("published", True):
        return None, "no map: this run published no result"
    try:
        return _map(store, region) if "cells" in summary else _own(summary, store, region)
    # A report is as useful without its picture, and says why there is none.
    except (InputError, StoreError) as problem:
        return None, f"no map: {problem}"


def _map(store: str, region: str | None) -> tuple[bytes, str]:
    """Return a map of the first variable of a result."""
    check_matplotlib()
    result = read_result(store, None, region)
    name, position = default_variables(result)[0], time_position(result, None)
    shown = region_of(result, most=PIXELS)
    content = content_of(result, shown, [panel_of(result, name, position)], position)
    with tempfile.TemporaryDirectory(prefix="maggjob-report-") as folder:
        path = Path(folder) / "map.png"
        draw_sheet(content, path)
        return _smaller(path), f"{name}; 'maggjob view {store}' draws it larger, and other variables"


def _smaller(path: Path) -> bytes:
    """Return a PNG with few colours, in a third of the bytes."""
    # It comes with matplotlib.
    if find_spec("PIL") is not None:
        from PIL import Image

        with Image.open(path) as image:
            image.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    return path.read_bytes()


def _own(summary: Mapping[str, Any], store: str, region: str | None) -> tuple[bytes | None, str]:
    """Return the picture that another job made: beside its result, or in it."""
    place = summary.get("picture") or f"{store.rstrip('/')}/contact.png"
    above, _, name = str(place).rpartition("/")
    folder = above or "."
    content = Folder(folder, region).find(name) if exists(folder, region) else None
    if content is None:
        return None, "no picture: this job makes none"
    if len(content) > MOST_BYTES:
        return None, f"no picture here, as it is large: {place}"
    return content, str(place)
