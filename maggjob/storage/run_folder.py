"""The layout of a run's folder, of the private prefix in Lithops' bucket, and of the user's cache.

A run keeps its files in one folder beside its result, ``<store>.run``::

    run.json            identity of the run, and the stage that started last (`maggjob.pipeline.status`)
    parts/WINDOW/ID.npz one part per task (`maggjob.jobs.parts`)
    granules-*.jsonl    lists of granules (`maggjob.granules.lists`)
    shared-*.json       what the calls of a stage have in common (`maggjob.jobs.wire`)
    new, old            the new result before it is moved into place, and the one it replaces (local results only)
    summary.json        summary of the run; written last
"""

import os
from pathlib import Path

PARTS = "parts"
"""Folder of the parts."""
SUMMARY = "summary.json"
"""Key of the summary."""
RUN = "run.json"
"""Key of the record of the run."""
NEW = "new"
"""Folder in which a local result is written before it is moved into place."""
OLD = "old"
"""Folder that keeps an old local result while a new one is moved into its place."""
OURS = (RUN, SUMMARY, f"{PARTS}/", "granules-", "shared-")
"""Prefixes of all keys in a run's folder."""
INDEXES = "maggjob-index"
"""Name of the prefix for indexes beside a result in a bucket."""
PRIVATE = "maggjob.private"
"""Prefix below which workers read credentials; objects that a killed client leaves expire (runtime/template.yaml)."""


def run_folder(store: str) -> str:
    """Return the path or URL of a run's folder, which lies beside its store."""
    return f"{store.rstrip('/')}.run"


def cache_folder() -> Path:
    """Return the folder of the cache: MAGGJOB_CACHE, or maggjob in the user's cache folder."""
    own = os.environ.get("MAGGJOB_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maggjob"
