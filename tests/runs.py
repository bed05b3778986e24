"""Run whole jobs in a test, and compare their results."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

import maggjob
from maggjob import Config
from maggjob.catalog.catalog import Catalog
from maggjob.config.load import builtin_configs
from maggjob.pipeline.result import RunResult


def config(latitude: str = "authalic") -> Config:
    """Return the built-in configuration with either latitude convention."""
    plain = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    plain["output"]["grid"]["latitude"] = latitude
    return maggjob.load_config(plain)


def do(catalog: Catalog, store: str, **options: Any) -> RunResult:
    """Run the job in this process; indexes go to ./indexes."""
    given_ = {"backend": "serial", "indexes": "indexes"} | options
    result = maggjob.run(config(catalog.latitude), catalog=catalog, store=store, **given_)
    assert isinstance(result, RunResult)
    return result


def files(folder: str | Path = ".") -> dict[str, bytes]:
    """Return the content of all files below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def ledger(result: RunResult) -> dict[str, Any]:
    """Return the tally and the ledger of each cell, without messages and their order."""
    plain = asdict(result.tally)
    plain["errors"] = {reason: error["count"] for reason, error in result.tally.errors.items()}
    cells = {}
    for report in result.reports:
        granules = {g.id: (g.state, g.reason, g.rows, g.invalid_coordinate, g.in_cell, g.kept) for g in report.granules}
        cells[report.cell] = (report.state, report.reason, dict(report.segments), granules, report.time)
    return {"tally": plain, "cells": cells}
