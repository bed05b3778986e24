"""Functions for every worker: the reason and message of a failure, and the memory used."""

import sys
import traceback

from maggjob.errors import MaggjobError


def reason_and_message(problem: BaseException) -> tuple[str, str]:
    """Return the ledger's reason for an exception, and its text. Exceptions that end a process are raised again."""
    if isinstance(problem, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        raise problem
    if isinstance(problem, MaggjobError):
        return problem.reason, str(problem)
    if isinstance(problem, MemoryError):
        return "memory", f"the memory is not enough: {problem}"
    return "internal", "".join(traceback.format_exception(problem))


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes; 0 if the system does not provide it."""
    try:
        import resource
    except ImportError:
        # Windows lacks this module.
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
