"""How much memory a run may take, and how much it takes."""

from pathlib import Path

_SHARE = 0.9
_GROUP = Path("/sys/fs/cgroup/memory.max")


def ceiling_mb(chosen: float) -> float:
    """``chosen`` megabytes, or with 0 nine tenths of what the machine, or the container around it, has."""
    if chosen > 0:
        return chosen
    import psutil

    there = psutil.virtual_memory().total
    if _GROUP.exists() and (limit := _GROUP.read_text().strip()).isdigit():
        there = min(there, int(limit))
    return _SHARE * there / 1024**2


def resident_mb(pid: int) -> float:
    """Resident memory of a process and of those it started; 0 when it is gone."""
    import psutil

    total = 0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.Error:
        pass
    return total / 1024**2
