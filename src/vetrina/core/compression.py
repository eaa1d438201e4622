"""Compression variants of a model and the result of trying one.

How a variant is written is up to ``models/<name>/compress.py``; which one is kept is decided in ``compress``.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan


@dataclass(frozen=True)
class CompressionVariant:
    """One way to make a model smaller.

    Attributes:
        steps: Methods in the order in which they are applied, such as "distil" and "int8".
        settings: How much is kept, by name: a share of neighbours, a number of bits, a width. A smaller value is more
            aggressive.
        training_seconds: Approximate time to make the variant with two threads, where a smaller model is trained
            (distillation); 0 without training.
        is_aggressive: True for variants that must always be evaluated, such as those of models that are small from the start.
    """

    steps: tuple[str, ...]
    settings: Mapping[str, float] = field(default_factory=dict[str, float])
    training_seconds: float = 0.0
    is_aggressive: bool = False

    @property
    def name(self) -> str:
        """Steps and settings as text, such as "distil + int8 (width 64)"."""
        steps = " + ".join(self.steps)
        if not self.settings:
            return steps
        settings = ", ".join(f"{name} {value:g}" for name, value in self.settings.items())
        return f"{steps} ({settings})"


@dataclass(frozen=True)
class DistillationData:
    """Data that a smaller model may be trained on.

    Attributes:
        prepare: Loads the training data of the teacher; called on first use only.
        plan: The plan of the teacher's training.
        progress: Reports how far the training is.
    """

    prepare: Callable[[], TrainingData]
    plan: TrainingPlan
    progress: Progress

    @cached_property
    def training_data(self) -> TrainingData:
        """The data that the teacher was fitted to."""
        return self.prepare()


@dataclass(frozen=True)
class CompressionTrial:
    """Result of one compression variant of one model.

    Attributes:
        model: Name of the model.
        step: Name of the variant.
        kept: Whether the variant is used.
        bytes_before: Size of the model's files before.
        bytes_after: Size of the model's files with this variant.
        quality_before: Quality of the scenario before.
        quality_after: Quality of the scenario with this variant.
        loss_upper: Upper confidence bound of the relative loss of quality.
        why: Reason for keeping or rejecting the variant.
        agreement: Share of answers that are the same as before.
        work_before: CPU microseconds of the scenario per request before.
        work_after: CPU microseconds of the scenario per request with this variant.
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
        """All fields but the measured times, which would make bundles of the same plan differ."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("work")}
