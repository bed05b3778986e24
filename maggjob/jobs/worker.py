"""TODO jobs.worker."""

import sys
import traceback

from maggjob.errors import MaggjobError


def _described(problem: BaseException) -> tuple[str, str]:
    """Reason and message of whatever was raised; what ends a process goes on ending it."""
    if isinstance(problem, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        raise problem
    if isinstance(problem, MaggjobError):
        return problem.reason, str(problem)
    return "internal", "".join(traceback.format_exception(problem))


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
