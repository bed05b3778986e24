"""The layout of a run's folder, of the private prefix in Lithops' bucket, and of the user's cache.

A run keeps its files in one folder beside its result, ``<store>.run``::

    run.json            identity of the run, and the stage that started last (`maggjob.pipeline.status`)
    parts/WINDOW/ID.npz one part per task (`maggjob.jobs.parts`)
    granules-*.zlib     lists of granules (`maggjob.granules.lists`)
    shared-*.json       what the calls of a stage have in common (`maggjob.jobs.wire`)
    new, old            the new result before it is moved into place, and the one it replaces (local results only)
    plan.json           configuration and catalog (`maggjob.output.saved_plan`)
    manifest.json       digests of parts and store, versions of granules (`maggjob.output.manifest`)
    ledger.parquet, .csv  one row per granule and cell (`maggjob.output.table`)
    lock-N.json         who works on the store (`maggjob.storage.lock`)
    versions.json       versions of the granules that the parts were made from (`maggjob.pipeline.resume`)
    history.jsonl       the runs that made the result, one per line (`maggjob.pipeline.history`)
    calls.json          when each call ran (`maggjob.pipeline.record`)
    summary.json        summary of the run; written last
"""

import os
from pathlib import Path

from maggjob.inputs.places import local_place

PARTS = "parts"
"""Folder of the parts."""
SUMMARY = "summary.json"
"""Key of the summary."""
CALLS = "calls.json"
"""Key of the times of all calls."""
RUN = "run.json"
"""Key of the record of the run."""
NEW = "new"
"""Folder in which a local result is written before it is moved into place."""
OLD = "old"
"""Folder that keeps an old local result while a new one is moved into its place."""
MANIFEST = "manifest.json"
"""Key of the manifest: digests of all parts and of all objects of the store, and versions of all granules."""
LEDGER_PARQUET, LEDGER_CSV = "ledger.parquet", "ledger.csv"
"""Keys of the ledger as a table."""
NEXT_LEDGER = "next-ledger.parquet"
"""Key of a ledger whose manifest may not be written yet."""
NEXT_PLAN = "next-plan.json"
"""Key of the plan of an update whose manifest may not be written yet."""
HISTORY = "history.jsonl"
"""Key of the list of the runs that made the result."""
PLAN = "plan.json"
"""Key of the configuration and the catalog of the run."""
WRITING = "writing.json"
"""Key of a note that exists while a store in a bucket is written in place."""
UPDATING = "updating"
"""Attribute of the root of a store whose data are being replaced."""
VERSIONS = "versions.json"
"""Key of the versions (ETags) of the granules that the parts were made from."""
KEPT = (SUMMARY, CALLS, MANIFEST, PLAN, LEDGER_PARQUET, LEDGER_CSV, HISTORY)
"""Keys that stay when the parts are deleted: they say what the result is made of, and let it be verified."""
BETWEEN = (NEXT_LEDGER, NEXT_PLAN)
"""Keys that stay only if a client was killed while it replaced a manifest; they are then part of the result."""
OURS = (RUN, *KEPT, *BETWEEN, VERSIONS, WRITING, "lock-", f"{PARTS}/", "granules-", "shared-")
"""Prefixes of all keys in a run's folder."""
INDEXES = "maggjob-index"
"""Name of the prefix for indexes beside a result in a bucket."""
PRIVATE = "maggjob.private"
"""Prefix below which workers read credentials, by the id of the user; objects that a killed client leaves expire
(runtime/template.yaml)."""


def run_folder(store: str) -> str:
    """Return the path or URL of a run's folder, which lies beside its store."""
    return f"{store.rstrip('/')}.run"


def private_prefix(bucket: str, user: str) -> str:
    """Return the URL below which a user's credentials for workers lie in Lithops' bucket.

    Parameters
    ----------
    bucket : str
        Lithops' bucket.
    user : str
        Id of the user at AWS (`maggjob.storage.identity.caller_id`).
    """
    return f"s3://{bucket}/{PRIVATE}/{user}"


def cache_folder() -> Path:
    """Return the folder of the cache: MAGGJOB_CACHE, or maggjob in the user's cache folder."""
    own = os.environ.get("MAGGJOB_CACHE")
    if own:
        return local_place(own, "MAGGJOB_CACHE")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maggjob"
