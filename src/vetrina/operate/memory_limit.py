"""Memory limit of a run, and the resident memory of its processes."""

from pathlib import Path

_MEMORY_SHARE = 0.9  # of the machine, for a run without a configured limit
_CGROUP_LIMIT_FILE = Path("/sys/fs/cgroup/memory.max")
_BYTES_PER_MB = 1024**2


def memory_limit_mb(configured_mb: float) -> float:
    """The configured megabytes or, with 0, nine tenths of the memory of the machine or of the container around it."""
    if configured_mb > 0:
        return configured_mb
    import psutil

    total_bytes = psutil.virtual_memory().total
    if _CGROUP_LIMIT_FILE.exists():
        limit = _CGROUP_LIMIT_FILE.read_text().strip()
        if limit.isdigit():  # else it is "max": no limit
            total_bytes = min(total_bytes, int(limit))
    return _MEMORY_SHARE * total_bytes / _BYTES_PER_MB


def resident_mb(pid: int) -> float:
    """Resident memory of a process and of its children; 0 when it has ended."""
    import psutil

    total_bytes = 0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            total_bytes += one.memory_info().rss
    except psutil.Error:
        pass
    return total_bytes / _BYTES_PER_MB
