"""Write the report of a run as one HTML page, which needs no network and no program of its own."""

import base64
from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path

from maggjob._version import __version__
from maggjob.inputs.places import PlaceLike
from maggjob.pipeline.overview import RunOverview
from maggjob.pipeline.overview_files import read_overview
from maggjob.pipeline.status import damage_told
from maggjob.show.report_picture import picture_of
from maggjob.show.report_sections import (
    cost_section,
    estimate_section,
    failures_section,
    origin_section,
    phases_section,
    size_text,
    slowest_section,
    tally_section,
    time_text,
    timeline_section,
)
from maggjob.show.whole_file import place_of, write_whole

PRINTED = 'addEventListener("beforeprint",()=>document.querySelectorAll("details").forEach(one=>one.open=true))'
"""What is folded is printed."""


def write_report(store: PlaceLike, out: PlaceLike = "report.html", region: str | None = None) -> Path:
    """Write the report of the last finished run of a store as one HTML page.

    Parameters
    ----------
    store : str or Path
        Path or s3:// URL of the run's result.
    out : str or Path
        File to write; its name ends in .html.
    region : str, optional
        Region of the bucket.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If no run has finished, or the file cannot be written. Nothing is written then.
    StoreError
        If the folder of the run cannot be read.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> result = maggjob.run("atl06.yaml", catalog=maggjob.make_catalog("granules"), store="map.zarr", backend="serial")
    >>> write_report("map.zarr").name
    'report.html'
    """
    path = place_of(out, (".html",))
    overview = read_overview(str(store), region)
    picture = picture_of(str(store), overview.summary, region)
    with damage_told(str(store)):
        text = report_html(overview, *picture)
    return write_whole(path, lambda beside: _write(beside, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def report_html(overview: RunOverview, picture: bytes | None = None, caption: str = "") -> str:
    """Return the report of a run as HTML.

    Parameters
    ----------
    overview : RunOverview
    picture : bytes, optional
        Picture of the result, a PNG.
    caption : str
        What it shows, or why there is none.
    """
    store = str(overview.summary["store_path"])
    name = store.rstrip("/").rpartition("/")[2]
    style = (Path(str(resources.files("maggjob.show"))) / "assets" / "report.css").read_text(encoding="utf-8")
    estimated = any(one.expected is not None for one in overview.estimate)
    sections = [
        ("map" if "cells" in overview.summary else "picture", _figure(picture, caption)),
        ("ledger" if "cells" in overview.summary else "tasks", tally_section(overview)),
        ("failed", failures_section(overview)),
        ("timeline of calls", timeline_section(overview)),
        ("time by phase", phases_section(overview)),
        ("estimate and outcome" if estimated else "work", estimate_section(overview)),
        ("cost on Lambda", cost_section(overview)),
        ("slowest cells", slowest_section(overview)),
        ("origin", origin_section(overview)),
    ]
    body = "".join(
        f'<section id="{title.split()[0]}"><h2>{escape(title)}</h2>{content}</section>'
        for title, content in sections
        if content
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in overview.notes)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: report</title><style>{style}</style></head><body>"
        f"{_header(overview, name)}<main>{f'<ul class=notes>{notes}</ul>' if notes else ''}{body}</main>"
        f"<footer>maggjob {__version__}: maggjob report {escape(store)}</footer>"
        f"<script>{PRINTED}</script></body></html>\n"
    )


def _figure(picture: bytes | None, caption: str) -> str:
    words = f"<figcaption>{escape(caption)}</figcaption>"
    if picture is None:
        return f"<figure>{words}</figure>"
    source = base64.b64encode(picture).decode()
    return f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{source}">{words}</figure>'


def _header(overview: RunOverview, name: str) -> str:
    """Return the head of a page: name, state, and the numbers that most people want."""
    summary = overview.summary
    simulated = '<span class="mark bad">simulated</span>' if summary.get("simulated") else ""
    state = {"complete": "good", "incomplete": "some"}.get(overview.state, "bad")
    when = datetime.fromisoformat(summary["started"]).strftime("%Y-%m-%d %H:%M UTC")
    workers = "1 worker" if summary["workers"] == 1 else f"{summary['workers']:,} workers"
    words = [str(summary["window"]), f"run {when}", f"{workers} on {summary['backend']}"]
    tiles = [(f"{count:,}", unit) for unit, count in summary["totals"].items()]
    if "total_obs" in summary:
        tiles.append((f"{summary['total_obs']:,}", "observations"))
    tiles.append((time_text(summary["wall_time_s"]), "time"))
    read = next((one.actual for one in overview.estimate if one.unit == "bytes"), None)
    tiles += [] if read is None else [(size_text(read), "read")]
    tiles += [(f"${overview.dollars:.4f}", "on Lambda")] if overview.bill else []
    boxes = "".join(f"<div><b>{escape(value)}</b><span>{escape(what)}</span></div>" for value, what in tiles)
    return (
        f'<header><h1>{escape(name)} <span class="mark {state}">{escape(overview.state)}</span>{simulated}</h1>'
        f'<p>{escape(" · ".join(words))}</p><div class="tiles">{boxes}</div></header>'
    )
