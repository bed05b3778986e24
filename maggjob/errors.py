"""The exceptions of maggjob, each with the reason under which the ledger counts it.

None of them is a ``RuntimeError``, because h5coro turns a ``RuntimeError`` into a missing value.
Each takes one message only, so that workers can return it by pickle.
"""

from typing import ClassVar


class MaggjobError(Exception):
    """Base class of all errors of maggjob; the message says what happened, where, and what to do."""

    reason: ClassVar[str] = "error"
    """Reason under which the ledger counts the error."""
    retryable: ClassVar[bool] = False
    """True if the same request may succeed later."""


class InputError(MaggjobError):
    """Unusable input: exit code 1, and nothing is written."""

    reason = "input"


class ConfigError(InputError):
    """An invalid configuration."""

    reason = "config"


class ExpressionError(ConfigError, ValueError):
    """An expression that is not plain arithmetic over known columns."""

    reason = "expression"


class CellError(InputError):
    """An id that is not a HEALPix cell of the grid."""

    reason = "cell"


class CatalogError(InputError):
    """An invalid catalog."""

    reason = "catalog"


class ExistsError(InputError):
    """An output that already exists."""

    reason = "exists"


class StatisticError(MaggjobError):
    """A statistic whose result cannot be stored, such as an overflow of its dtype."""

    reason = "statistic"


class StoreError(MaggjobError):
    """A failed read or write of maggjob's own output."""

    reason = "store"
    retryable = True


class ExpiredKeysError(StoreError):
    """A request that AWS refused because the credentials of this machine have expired, or are not valid any more."""

    reason = "expired"
    retryable = False


class LedgerError(MaggjobError):
    """Counts of a run that do not add up: the result is not published."""

    reason = "ledger"


class IndexFileError(MaggjobError):
    """An unusable granule index: damaged, of another version, or made for something else."""

    reason = "index"


class StaleIndexError(IndexFileError):
    """A granule that has changed since its index was made."""

    reason = "stale"


class BackendError(MaggjobError):
    """A backend that accepts no calls: nothing ran."""

    reason = "backend"


class StoppedError(MaggjobError):
    """A run that was stopped before it finished (exit code 3)."""

    reason = "stopped"


class SpendError(StoppedError):
    """A run that was stopped before it cost more than its limit."""


class GranuleError(MaggjobError):
    """A granule that could not be read in whole or in part."""

    reason = "read"


class MissingGranuleError(GranuleError):
    """A granule that does not exist at its URL or path."""

    reason = "missing"


class AccessError(GranuleError):
    """A request that the archive refused: credentials are missing, wrong or expired."""

    reason = "auth"


class ThrottledError(GranuleError):
    """A request that the archive throttled."""

    reason = "throttled"
    retryable = True


class NetworkError(GranuleError):
    """A connection that failed, stalled or ended early."""

    reason = "network"
    retryable = True


class TruncatedError(GranuleError):
    """A granule whose length differs from its superblock or the catalog."""

    reason = "truncated"


class ChangedError(GranuleError):
    """A granule that was replaced after the run began: its versions are never mixed."""

    reason = "changed"


class NotHdf5Error(GranuleError):
    """A granule that is not an HDF5 file."""

    reason = "not_hdf5"


class CorruptError(GranuleError):
    """A granule whose HDF5 structure or chunks cannot be decoded."""

    reason = "corrupt"


class UnsupportedError(GranuleError):
    """An HDF5 feature that maggjob cannot read reliably."""

    reason = "unsupported"


class LayoutError(UnsupportedError):
    """An HDF5 layout that h5coro cannot read, and h5py may."""


class MissingDatasetError(GranuleError):
    """A beam that lacks a dataset of the configuration."""

    reason = "missing_dataset"


RETRYABLE = frozenset({StoreError.reason, ThrottledError.reason, NetworkError.reason})
"""Reasons of failures that may not happen again."""
