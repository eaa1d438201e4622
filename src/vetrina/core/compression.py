"""Ways to make a model small, and what was seen of each."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import inf
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan


@dataclass(frozen=True)
class CompressionVariant:
    """One way to make a model small: its ``steps`` in their order, such as ``distil`` and ``int8``, with ``settings``.

    Each setting says how much stays, so less is bolder: a share of neighbours, bits, a width. ``seconds`` is about what it takes
    to make it with two threads, where a smaller model has to be taught. ``bold`` forms are never taken on trust: those of models
    that are built small.
    """

    steps: tuple[str, ...]
    settings: Mapping[str, float] = field(default_factory=dict)
    training_seconds: float = 0.0
    is_aggressive: bool = False

    @property
    def name(self) -> str:
        """Of steps and settings."""
        said = ", ".join(f"{name} {value:g}" for name, value in self.settings.items())
        return " + ".join(self.steps) + (f" ({said})" if said else "")

    def is_at_least_as_aggressive_as(self, other: "CompressionVariant") -> bool:
        """Whether no less is taken away than by ``other``, in every respect that either names. A taught model compares with
        taught ones only."""
        named = {*self.settings, *other.settings}
        less = all(self.settings.get(name, inf) <= other.settings.get(name, inf) for name in named)
        return less and bool(self.training_seconds) == bool(other.training_seconds) and (bool(named) or self == other)


@dataclass(frozen=True)
class DistillationData:
    """What a smaller model may be taught with: what its teacher has seen, prepared when it is asked for."""

    prepare: Callable[[], TrainingData]
    plan: TrainingPlan
    progress: Progress

    @cached_property
    def training_data(self) -> TrainingData:
        """As the teacher's ``fit`` was given it."""
        return self.prepare()


@dataclass(frozen=True)
class CompressionTrial:
    """One form tried on one model, and whether it was kept. ``agreement`` is the share of answers as before.

    ``work_before`` and ``work_after`` are CPU-microseconds of the scenario's answer to one request, before and with this form;
    measured, so they are no part of a bundle, which the same plan must give again to the bit.
    """

    model: str
    step: str
    kept: bool
    bytes_before: int
    bytes_after: int
    quality_before: float
    quality_after: float
    loss_upper: float
    why: str
    agreement: float
    work_before: float = 0.0
    work_after: float = 0.0

    def without_timings(self) -> dict[str, Any]:
        """All but what was measured by the clock."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("work")}
