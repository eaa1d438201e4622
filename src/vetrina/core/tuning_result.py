"""Tuning result: what was selected on validation data, to be repeated on other data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

BlendWeights = Mapping[str, Mapping[str, float]]  # by blend and model


@dataclass(frozen=True)
class Fallback:
    """A baseline that answers alone, because the tuned blend was not shown to be as good.

    Attributes:
        baseline: The model.
        reason: The gate's finding, for people.
    """

    baseline: str
    reason: str


@dataclass(frozen=True)
class TuningResult:
    """What was selected on validation data; later fits repeat it.

    Attributes:
        weights: Weights of the models by blend.
        settings: Hyper-parameters by model, where they differ from the model's own.
        options: Configuration of serving that holds for any weights, as JSON values: the scenario's ``online`` reads it.
        blend_options: Configuration of serving that was fitted to the answers of these weights, such as a calibration curve.
        fallback: The baseline that answers alone; None for the tuned blend.
        report: Metrics of tuning, search and learning, for people.
    """

    weights: BlendWeights
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    blend_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fallback: Fallback | None = None
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def serving_options(self) -> dict[str, Any]:
        """All options, as they are written for serving."""
        return {**self.options, **self.blend_options}

    def with_baseline(self, fallback: Fallback) -> "TuningResult":
        """The result with all weight on a baseline, and without what was fitted to the blend's answers."""
        weights = {}
        for blend, blend_weights in self.weights.items():
            weights[blend] = {model: float(model == fallback.baseline) for model in blend_weights}
        return replace(self, weights=weights, blend_options={}, fallback=fallback)
