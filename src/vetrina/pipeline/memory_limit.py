"""How much memory a run may take, and how much it takes."""

from pathlib import Path

_MEMORY_SHARE = 0.9
_CGROUP_LIMIT_FILE = Path("/sys/fs/cgroup/memory.max")


def memory_limit_mb(configured_mb: float) -> float:
    """``chosen`` megabytes, or with 0 nine tenths of what the machine, or the container around it, has."""
    if configured_mb > 0:
        return configured_mb
    import psutil

    there = psutil.virtual_memory().total
    if _CGROUP_LIMIT_FILE.exists() and (limit := _CGROUP_LIMIT_FILE.read_text().strip()).isdigit():
        there = min(there, int(limit))
    return _MEMORY_SHARE * there / 1024**2


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
