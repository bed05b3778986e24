"""The plan of a run, saved beside its result, so that cells can be mapped again or recomputed later."""

import json
from typing import Any

from maggjob.catalog.file import load_catalog
from maggjob.config.load import load_config
from maggjob.errors import InputError
from maggjob.grid.healpix import format_cell, parse_cell
from maggjob.inputs.plain_json import load_json
from maggjob.output.manifest import read_manifest
from maggjob.planning.plan import Plan
from maggjob.planning.windows import in_windows
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import NEXT_PLAN, PLAN as KEY, run_folder


def save_plan(plan: Plan, folder: Folder, key: str = KEY) -> None:
    """Write a plan to the folder of its run.

    Parameters
    ----------
    plan : Plan
        The plan that the user asked for.
    folder : Folder
        Folder of the run.
    key : str
        Key of the plan: another one as long as the manifest is that of an earlier plan.
    """
    config = plan.config.model_dump(mode="json", exclude={"catalog", "search"}, exclude_none=True)
    content = {
        "config": config,
        "catalog": plan.catalog.to_dict(),
        "cells": [format_cell(cell, plan.catalog.order) for cell in plan.cells],
        "driver": plan.driver,
        "window": plan.window,
        "run_digest": plan.digest,
    }
    folder.put(key, json.dumps(content, separators=(",", ":")).encode())
    if key == KEY:
        folder.delete([NEXT_PLAN])


def read_plan(store: str, region: str | None = None) -> Plan:
    """Read the plan of the last run of a store.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If there is no plan, or it is damaged.
    """
    folder = run_folder(store)
    there = Folder(folder, region) if exists(folder, region) else None
    content, name = None if there is None else there.find(KEY), f"{folder}/{KEY}"
    if content is None:
        raise InputError(f"no plan at {name}: give the path of a Zarr that this version of 'maggjob run' wrote")
    newer = None if there is None else there.find(NEXT_PLAN)
    if newer is not None and read_manifest(store, region).digests["run"].encode() in newer:
        # A client that ended between the manifest and the plan has left the plan beside it.
        content = newer
    try:
        plain: dict[str, Any] = load_json(content, finite=False)
        config = load_config(plain["config"])
        catalog = load_catalog(plain["catalog"], config.recipe())
        cells = tuple(parse_cell(cell, catalog.order) for cell in plain["cells"])
        plan = in_windows(Plan(config, catalog, cells, plain["driver"], plain["window"], store))
        digest = plain["run_digest"]
    except (ValueError, KeyError, TypeError, InputError) as problem:
        raise InputError(
            f"{name} is damaged ({problem}); run again with the configuration and the catalog"
        ) from problem
    if plan.digest != digest:
        raise InputError(f"{name} is damaged (its digest is {plan.digest[:12]}, expected {digest[:12]}); run again")
    return plan
