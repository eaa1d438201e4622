"""Recipes, training plans, and the checkpoints that training gives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Compute:
    """Where a run is computed. It changes no result beyond rounding.

    Attributes:
        engine: ``local`` or ``ray``.
        workers: Processes of the engine ``ray``, each with the threads of the plan.
        address: Address of the Ray cluster; empty for the variable RAY_ADDRESS, or for a cluster on this machine.
        device: ``auto``, ``cpu`` or ``cuda``.
        folder: Folder for checkpoints, which all workers reach; empty for one in the system's temporary files.
    """

    engine: str = "local"
    workers: int = 2
    address: str = ""
    device: str = "auto"
    folder: str = ""


@dataclass(frozen=True)
class TrainingPlan:
    """Everything decided before training starts; the same plan and data reproduce the result.

    Attributes:
        seed: Seed of all random numbers.
        budget_seconds: Wall time of the whole run.
        threads: Threads that a model may use.
        settings: Hyper-parameters by model, where they differ from the defaults (``hyperparameters`` of its ``model.py``).
        without: Models that are not trained, by choice or because the budget does not suffice.
        halvings: How often the chunk size was halved because memory was short.
        warm: Whether networks are initialised from the last training with the same architecture (warm start).
        begin_before: A warm start may use trainings on data before this time only.
        trials: Number of hyper-parameter trials on validation data, by model.
        folds: Folds of a table, the validation rows among them, whose rows are predicted out of fold; 0 if not planned.
        encoder: Pretrained text encoder; empty for the default.
        goal: What the decision threshold of predict is chosen for; empty for 0.5.
        optimiser: Optimiser of networks.
        loss: Loss function of networks.
        foreign: ONNX file of an external model, named by a hash of its content; empty for none.
        foreign_inputs: Columns of the external model's only input matrix; empty if it has one input per column.
        image_hosts: Hosts in the shop's own network that images may be downloaded from.
        answers: Answers that may be computed to judge compression variants, beside the least aggressive of each model.
        compute: Engine and device.
    """

    seed: int = 42
    budget_seconds: float = 600.0
    threads: int = 2
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    without: tuple[str, ...] = ()
    halvings: int = 0
    warm: bool = False
    begin_before: float = math.inf
    trials: Mapping[str, int] = field(default_factory=dict[str, int])
    folds: int = 0
    encoder: str = ""
    goal: str = ""
    optimiser: str = "adam"
    loss: str = "cross-entropy"
    foreign: str = ""
    foreign_inputs: tuple[str, ...] = ()
    image_hosts: tuple[str, ...] = ()
    answers: int = 40_000
    compute: Compute = field(default_factory=Compute)

    @property
    def n_chunks(self) -> int:
        """Number of chunks in which a model processes what it usually processes at once; more chunks need less memory."""
        return 2**self.halvings

    def hyperparameters_of(self, model: str, defaults: Mapping[str, float]) -> dict[str, float]:
        """Hyper-parameters of a model: its ``defaults``, overridden by those of this plan."""
        return {**defaults, **self.settings.get(model, {})}


@dataclass(frozen=True)
class Recipe:
    """The models that a scenario combines, the baselines that it must not lose to, and its quality metric.

    ``settings`` holds hyper-parameters by model where they differ from the model's own.
    """

    scenario: str
    models: tuple[str, ...]
    baselines: tuple[str, ...]
    metric: str
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])


@dataclass(frozen=True)
class TrainNotes:
    """What the training of a model found.

    Attributes:
        hyperparameters: What later fits repeat, such as the epoch after which to stop; empty for the plan's hyper-parameters.
        validation_curve: Metric on held-out data after each epoch; empty where nothing is held out.
        report: Facts for people, as JSON values.
    """

    hyperparameters: Mapping[str, float] = field(default_factory=dict[str, float])
    validation_curve: tuple[float, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Checkpoint:
    """Trained float models in ``folder``, one sub-folder per model, beside ``scenario.json``."""

    scenario: str
    folder: Path
    notes: Mapping[str, TrainNotes]
