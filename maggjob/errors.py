"""The errors of maggjob, each with the reason under which the ledger counts it.

None of them is a ``RuntimeError``: h5coro turns those into a missing value.
All take one message, so that they survive pickling on their way back from a worker.
"""

from typing import ClassVar


class MaggjobError(Exception):
    """Anything maggjob reports by itself: the message says what, where, and what to do."""

    reason: ClassVar[str] = "error"
    """The word under which a ledger counts it."""


class InputError(MaggjobError):
    """What the user gave cannot be used: exit code 1, nothing written."""

    reason = "input"


class ConfigError(InputError):
    """A configuration that cannot be used."""

    reason = "config"


class ExpressionError(ConfigError, ValueError):
    """An expression that is not plain arithmetic over known columns."""

    reason = "expression"


class CellError(InputError):
    """Something that names no HEALPix cell of the grid."""

    reason = "cell"


class CatalogError(InputError):
    """A catalog that cannot be used."""

    reason = "catalog"


class ExistsError(InputError):
    """The output is there already."""

    reason = "exists"


class StatisticError(MaggjobError):
    """A statistic whose result cannot be written down."""

    reason = "statistic"


class StoreError(MaggjobError):
    """Reading or writing our own output failed."""

    reason = "store"


class LedgerError(MaggjobError):
    """The counts of a run do not add up: nothing is published."""

    reason = "ledger"


class IndexFileError(MaggjobError):
    """The index of a granule cannot be used: damaged, of another version, or of something else."""

    reason = "index"


class StaleIndexError(IndexFileError):
    """A granule is not the one any more that its index was made of."""

    reason = "stale"


class BackendError(MaggjobError):
    """The backend does not take calls: nothing ran."""

    reason = "backend"


class StoppedError(MaggjobError):
    """The run was stopped before its end (exit code 3)."""

    reason = "stopped"


class GranuleError(MaggjobError):
    """A granule, or a part of it, could not be read."""

    reason = "read"


class MissingGranuleError(GranuleError):
    """There is no such object."""

    reason = "missing"


class AccessError(GranuleError):
    """The archive refused us: no credentials, wrong ones, or expired ones."""

    reason = "auth"


class ThrottledError(GranuleError):
    """The archive asked us to slow down."""

    reason = "throttled"


class NetworkError(GranuleError):
    """The connection failed, stalled, or ended early."""

    reason = "network"


class TruncatedError(GranuleError):
    """The object is not as long as its own superblock or the catalog says."""

    reason = "truncated"


class NotHdf5Error(GranuleError):
    """The object is no HDF5 file."""

    reason = "not_hdf5"


class CorruptError(GranuleError):
    """The HDF5 structure or a chunk does not decode."""

    reason = "corrupt"


class UnsupportedError(GranuleError):
    """An HDF5 feature whose values we could not vouch for."""

    reason = "unsupported"


class MissingDatasetError(GranuleError):
    """The beam is there and a dataset of the configuration is not."""

    reason = "missing_dataset"
