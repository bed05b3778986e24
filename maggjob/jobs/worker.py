"""What every worker needs: how a failure is told, and how much memory was used."""

import sys
import traceback

from maggjob.errors import MaggjobError


def reason_and_message(problem: BaseException) -> tuple[str, str]:
    """Return the ledger's word for whatever was raised, and its text; what ends a process is raised again."""
    if isinstance(problem, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        raise problem
    if isinstance(problem, MaggjobError):
        return problem.reason, str(problem)
    return "internal", "".join(traceback.format_exception(problem))


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        # Windows has no such module.
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
