"""The layout of a run's folder, of the private prefix beside Lithops' data, and of the user's cache.

A run keeps its files in one folder beside its result, ``<store>.run``::

    run.json            what run it is, and the stage that began last (`maggjob.pipeline.status`)
    parts/WINDOW/ID.npz a part per task (`maggjob.jobs.parts`)
    granules-*.jsonl    lists of granules (`maggjob.granules.lists`)
    shared-*.json       what the calls of a stage have in common (`maggjob.jobs.wire`)
    new, old            a result on its way into place, and the one that it replaces (local results only)
    summary.json        what the run did; written last
"""

import os
from pathlib import Path

PARTS = "parts"
"""Folder of the parts."""
SUMMARY = "summary.json"
"""Key of the summary."""
RUN = "run.json"
"""Key of the note about the run."""
NEW = "new"
"""Folder in which a local result is written before it is put into place."""
OLD = "old"
"""Folder in which an old local result is kept while a new one takes its place."""
OURS = (RUN, SUMMARY, f"{PARTS}/", "granules-", "shared-")
"""What the keys in the folder of a run begin with."""
INDEXES = "maggjob-index"
"""Folder or prefix of the indexes that lie beside a result in a bucket."""
PRIVATE = "maggjob.private"
"""Prefix that workers may read credentials below; what a killed client leaves there expires (runtime/template.yaml)."""


def run_folder(store: str) -> str:
    """Return the folder of a run: beside its store, for parts, lists and summary."""
    return f"{store.rstrip('/')}.run"


def cache_folder() -> Path:
    """Return the user's cache: MAGGJOB_CACHE, else maggjob in the user's cache folder."""
    own = os.environ.get("MAGGJOB_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maggjob"
