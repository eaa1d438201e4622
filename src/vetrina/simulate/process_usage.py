"""CPU time and memory of a serving process, read from the operating system or from its metrics."""

import re
from contextlib import suppress
from typing import Protocol

import httpx
import psutil

from vetrina.core.errors import NotReady

_BYTES_PER_MB = 1e6
_CPU_METRIC = re.compile(r"^process_cpu_seconds_total (\S+)$", re.M)
_MEMORY_METRIC = re.compile(r"^process_resident_memory_bytes (\S+)$", re.M)


class ProcessUsage(Protocol):
    """What a process has used."""

    memory_kind: str  # which memory is meant, for people

    def cpu_seconds(self) -> float | None:
        """User and system time since its start; None where it is not known."""
        ...

    def memory_mb(self) -> float | None:
        """Memory now, in megabytes; None where it is not known."""
        ...


class LocalUsage:
    """Usage of a process of this machine, its children included. Memory is the proportional set size (PSS) where there is one.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.memory_kind = "PSS" if psutil.LINUX else "USS"

    def cpu_seconds(self) -> float:
        """User and system time since its start."""
        seconds = 0.0
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):  # a child that has just ended
                times = process.cpu_times()
                seconds += times.user + times.system
        return seconds

    def memory_mb(self) -> float:
        """Memory now, in megabytes."""
        total = 0
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                memory = process.memory_full_info()
                total += memory.pss if psutil.LINUX else memory.uss
        return total / _BYTES_PER_MB

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            raise NotReady("the service", "ended under the load", "its log says why") from None


class ScrapedUsage:
    """Usage of the process that answers ``/metrics``, which must be the only one behind its address.

    Args:
        client: sends requests to the service.
    """

    memory_kind = "resident"

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def cpu_seconds(self) -> float | None:
        """User and system time since its start; None where its system has no such figure, or it does not answer now."""
        return self._value(_CPU_METRIC)

    def memory_mb(self) -> float | None:
        """Resident memory in megabytes; None where its system has no such figure, or it does not answer now."""
        resident_bytes = self._value(_MEMORY_METRIC)
        return None if resident_bytes is None else resident_bytes / _BYTES_PER_MB

    def _value(self, metric: "re.Pattern[str]") -> float | None:
        try:
            text = self._client.get("/metrics").text
        except httpx.HTTPError:
            return None
        found = metric.search(text)
        return None if found is None else float(found.group(1))
