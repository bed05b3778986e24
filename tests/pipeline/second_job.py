"""A job that has nothing to do with cells: the mean height of each granule, and a table of them.

It shows what a job module needs beside the session: a worker function, its tasks, a reduce.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maggjob.hdf5.file import Hdf5File
from maggjob.pipeline.session import RunDescription, Session, SessionOptions
from maggjob.storage.archive import Archive, Source


@dataclass(frozen=True)
class MeanTask:
    """One granule."""

    id: str
    url: str
    dataset: str
    credentials: str | None
    region: str | None


def mean_height(task: MeanTask) -> dict[str, Any]:
    """Read one dataset of a granule: its mean, and how many values that is of."""
    source = Source(task.url, Archive(task.credentials, task.region))
    file = Hdf5File(source.read, task.id)
    info = file.info(task.dataset)
    if info is None:
        raise LookupError(f"{task.id} has no {task.dataset}")
    values = file.rows(task.dataset, 0, info.rows)
    good = values[np.abs(values) < 1e30].astype(np.float64)
    return {"granule": task.id, "values": len(good), "mean": float(good.mean())}


def table_of_means(urls: Sequence[str], dataset: str, store: str, options: SessionOptions) -> dict[str, Any]:
    """Map the granules, and reduce what they give to a table in the run's summary."""
    run = RunDescription(store, "all", {"granules": len(urls)}, {"dataset": dataset}, urls)
    with Session(run, options) as session:
        names = [url.rsplit("/", 1)[-1].removesuffix(".h5") for url in urls]
        where = (dataset, session.credentials, session.region)
        tasks = [MeanTask(name, url, *where) for name, url in zip(names, urls, strict=True)]
        outcomes = session.map("map", mean_height, tasks, options.watch)
        rows = [outcome.value for outcome in outcomes if outcome.value is not None]
        return session.finish({"table": sorted(rows, key=lambda row: row["granule"])})
