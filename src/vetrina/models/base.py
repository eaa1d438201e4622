"""Interface of a model, and how models are found.

A model is one folder, ``models/NAME``, whose module ``model.py`` holds one object, ``MODEL``: everything that the rest has to
know of it. Only the scenarios that combine models, and a shop's settings, name them.

Serving imports this module and ``model.py``, too; ``train.py`` and ``compress.py`` are imported when a model is fitted or
compressed.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from vetrina import models
from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.core.errors import BadInput
from vetrina.core.progress import Progress
from vetrina.core.search_range import SearchRange
from vetrina.core.training_cost import ModelCost
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan, TrainNotes


class TrainModule(Protocol):
    """``models/NAME/train.py``. It may import anything."""

    def fit(self, training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
        """Train the model.

        Args:
            training_data: Everything that the model may be trained on, and the shop's cache of embeddings.
            plan: Seed, threads, hyper-parameters and budget.
            into: Folder that the model's files are written to.
            progress: Reports how far the training is.

        Returns:
            What later fits repeat, and a report.
        """
        ...


class OnlineModule(Protocol):
    """``models/NAME/online.py``. It needs NumPy and ONNX Runtime only."""

    def load(self, folder: Path) -> Any:
        """Open the files that ``train.py`` or ``compress.py`` wrote.

        What is returned depends on what the model answers: a ``core.protocols.Scorer`` scores the catalogue for a history, a
        model of a labelled table has ``predict(rows)``.
        """
        ...


class CompressModule(Protocol):
    """``models/NAME/compress.py``, optional: writes smaller files that the same ``online.py`` opens."""

    VARIANTS: Sequence[CompressionVariant]  # from mild to aggressive

    def compress(
        self, source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData
    ) -> None:
        """Write one of ``VARIANTS`` of a trained model.

        Args:
            source: Folder with the model's float files.
            into: Folder that the smaller files are written to.
            variant: The variant to write.
            distillation_data: Training data for variants that train a smaller model.

        Raises:
            UnusableVariant: The variant does not exist for this model.
        """
        ...


@dataclass(frozen=True)
class Model:
    """What a model's folder declares.

    Attributes:
        name: The model's name, which is that of its folder.
        reason: Why it ranks a product high, as a phrase for users; empty for a model that does not rank products.
        cost: What its training costs.
        hyperparameters: Its hyper-parameters, unless a shop's settings, a recipe, a budget or a search have others.
        search_space: Hyper-parameters that are searched where the budget pays for it, and where to search them.
        is_external: Whether it is a file that the shop trained itself (``TrainingPlan.foreign``).
    """

    name: str
    reason: str = ""
    cost: ModelCost = field(default_factory=ModelCost)
    hyperparameters: Mapping[str, float] = field(default_factory=dict[str, float])
    search_space: Mapping[str, SearchRange] = field(default_factory=dict[str, SearchRange])
    is_external: bool = False

    @property
    def is_trainable(self) -> bool:
        """Whether it can be trained; a model that only serves is not found among ``model_names``."""
        return self._has_module("train")

    @property
    def variants(self) -> tuple[CompressionVariant, ...]:
        """Compression variants, from mild to aggressive; none for a model that is not compressed."""
        if not self._has_module("compress"):
            return ()
        module = cast(CompressModule, self._module("compress"))
        return tuple(module.VARIANTS)

    def hyperparameters_in(self, plan: TrainingPlan) -> dict[str, float]:
        """Its hyper-parameters under a plan."""
        return plan.hyperparameters_of(self.name, self.hyperparameters)

    def fit(self, training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
        """Train the model; see ``TrainModule.fit``."""
        module = cast(TrainModule, self._module("train"))
        return module.fit(training_data, plan, into, progress)

    def load(self, folder: Path) -> Any:
        """Open a trained model; see ``OnlineModule.load``."""
        module = cast(OnlineModule, self._module("online"))
        return module.load(folder)

    def compress(
        self, source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData
    ) -> None:
        """Write one of its ``variants``; see ``CompressModule.compress``."""
        module = cast(CompressModule, self._module("compress"))
        module.compress(source, into, variant, distillation_data)

    def _has_module(self, module: str) -> bool:
        return importlib.util.find_spec(f"{models.__name__}.{self.name}.{module}") is not None

    def _module(self, module: str) -> object:
        return importlib.import_module(f"{models.__name__}.{self.name}.{module}")


def model_names() -> list[str]:
    """Names of all models that can be trained, sorted."""
    return [name for name in _folder_names() if find_model(name).is_trainable]


def has_model(name: str) -> bool:
    """Whether there is a model of this name."""
    return name in _folder_names()


def find_model(name: str) -> Model:
    """The model of a name. Raises BadInput for an unknown one; the message lists those that can be trained."""
    if not has_model(name):
        raise BadInput(name, "is not one of the models", f"known: {', '.join(model_names())}")
    return importlib.import_module(f"{models.__name__}.{name}.model").MODEL


def find_trainable_model(name: str) -> Model:
    """The model of a name. Raises BadInput for one that is unknown or cannot be trained."""
    if name not in model_names():
        raise BadInput(name, "is not one of the models", f"known: {', '.join(model_names())}")
    return find_model(name)


def costs_of(names: Iterable[str]) -> dict[str, ModelCost]:
    """The cost of each model, in this order."""
    return {name: find_model(name).cost for name in names}


def _folder_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(models.__path__) if module.ispkg)
