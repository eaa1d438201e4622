"""Peak memory of the current process."""

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory_mb() -> float:
    """Peak resident memory in megabytes, without child processes.

    On Linux it is read from /proc: ru_maxrss would count the parent's memory at the time of the fork, too.
    """
    import resource

    if _STATUS.exists():
        lines = _STATUS.read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        return kilobytes / 1024.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    is_in_bytes = sys.platform == "darwin"
    return peak / 1024.0**2 if is_in_bytes else peak / 1024.0
