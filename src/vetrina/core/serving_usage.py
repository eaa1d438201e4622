"""What answers took of a machine: their number and CPU seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServingUsage:
    """A number of answers and the CPU seconds they took. They add up over workers and days."""

    answers: int = 0
    cpu_seconds: float = 0.0

    def __add__(self, other: "ServingUsage") -> "ServingUsage":
        return ServingUsage(self.answers + other.answers, self.cpu_seconds + other.cpu_seconds)

    def __sub__(self, other: "ServingUsage") -> "ServingUsage":
        return ServingUsage(self.answers - other.answers, self.cpu_seconds - other.cpu_seconds)
