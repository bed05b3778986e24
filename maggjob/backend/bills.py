"""Bills of runs in Lithops' bucket, one small object a run, so that an operator can sum them by user.

An object below ``maggjob.bills/ID/``, with ID the user's id at AWS (`maggjob.storage.identity`), is JSON::

    {"format": 1, "user": "ada", "started": "2026-05-04T09:12:33.123+00:00", "store": "s3://results/map.zarr",
     "complete": true, "workers": 250, "wall_time_s": 21.4, "dollars": 0.0931, "expected": 0.0968,
     "lines": {"compute": 0.0331, "INIT": 0.0087, ...}}

It says who ran what, for whom may list the bucket. `payer` tells whose name it is; an empty ``MAGGJOB_USER`` leaves the
name out.
"""

import getpass
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from maggjob.storage.folder import Folder
from maggjob.storage.identity import caller_id

BILLS = "maggjob.bills"
"""Prefix of the bills in Lithops' bucket."""
NOBODY = "(not named)"
"""In place of the user of a run that named none."""
FORMAT = 1
READERS = 32


@dataclass(frozen=True)
class Bill:
    """What one run on Lambda has cost."""

    user: str | None
    """Who ran it; None if that is not told."""
    started: str
    """Start of the run, UTC, ISO 8601."""
    store: str
    """Path or URL of the result."""
    complete: bool
    """True if no task failed, and nothing stopped the run."""
    workers: int
    """Number of concurrent workers."""
    wall_time_s: float
    """Seconds from the plan to the end."""
    dollars: float
    """US dollars."""
    expected: float | None = None
    """US dollars that the plan expected; None if it expected nothing."""
    lines: Mapping[str, float] = field(default_factory=dict)
    """US dollars by line of the bill."""
    format: int = FORMAT
    """Version of the object."""

    @property
    def key(self) -> str:
        """Key of the object below the prefix: the day first, so that the bills of some days can be listed."""
        return f"{self.started.replace(':', '').replace('+', '-')}-{zlib.crc32(self.store.encode()):08x}.json"


def payer(environment: Mapping[str, str] | None = None, caller: Callable[[], str | None] | None = None) -> str | None:
    """Return the name of who runs this: of the hub's user, else of the AWS caller, else of the login.

    Parameters
    ----------
    environment : mapping, optional
        By default that of this process. ``MAGGJOB_USER`` overrides every name; if it is empty, there is none.
    caller : callable, optional
        Returns the name of the AWS caller, or None.
    """
    environment = os.environ if environment is None else environment
    if "MAGGJOB_USER" in environment:
        return environment["MAGGJOB_USER"].strip() or None
    named = environment.get("JUPYTERHUB_USER") or (caller() if caller is not None else None)
    if named:
        return named
    try:
        return getpass.getuser()
    # A container may run under a number that has no name.
    except (KeyError, OSError):
        return None


def aws_caller() -> str | None:
    """Return the name of the AWS caller, such as that of an IAM user or of a session; None if AWS does not tell."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        arn: str = boto3.client("sts", region_name=os.environ.get("AWS_REGION") or "us-west-2").get_caller_identity()[
            "Arn"
        ]
    # The name is asked for at the end of a run, and only for a label.
    except (BotoCoreError, ClientError):
        return None
    return arn.rsplit("/", 1)[-1].rsplit(":", 1)[-1]


def keep_bill(bill: Bill, bucket: str, region: str | None = None) -> None:
    """Write a bill to Lithops' bucket.

    Parameters
    ----------
    bill : Bill
    bucket : str
        Name of the bucket.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    AccessError
        If AWS does not recognise the caller.
    StoreError
        If it cannot be written.
    """
    Folder(f"s3://{bucket}/{BILLS}/{caller_id(region)}", region).put(bill.key, json.dumps(asdict(bill)).encode())


def bills_in(bucket: str, region: str | None = None, since: str = "") -> list[Bill]:
    """Return the bills in Lithops' bucket, the oldest first.

    Parameters
    ----------
    bucket : str
        Name of the bucket.
    region : str, optional
        Region of the bucket.
    since : str
        First day, such as 2026-05-01; all by default.

    Raises
    ------
    StoreError
        If they cannot be read.
    """
    folder = Folder(f"s3://{bucket}/{BILLS}", region)
    names = {key: key.rpartition("/")[2] for key in folder.keys()}  # noqa: SIM118
    keys = sorted((key for key, name in names.items() if name >= since), key=names.__getitem__)
    with ThreadPoolExecutor(READERS) as pool:
        found = [json.loads(content) for content in pool.map(folder.get, keys)]
    return [Bill(**one) for one in found if one.get("format") == FORMAT]


def by_user(bills: Iterable[Bill]) -> dict[str, tuple[int, float]]:
    """Return the number of runs and the dollars of each user, the dearest first.

    Examples
    --------
    >>> from maggjob.backend.bills import Bill
    >>> one = Bill("ada", "2026-05-04T09:12:33.123+00:00", "s3://results/map.zarr", True, 250, 21.4, 0.25)
    >>> by_user([one, one])
    {'ada': (2, 0.5)}
    """
    found: dict[str, tuple[int, float]] = {}
    for bill in bills:
        runs, dollars = found.get(bill.user or NOBODY, (0, 0.0))
        found[bill.user or NOBODY] = (runs + 1, dollars + bill.dollars)
    return dict(sorted(found.items(), key=lambda one: -one[1][1]))
