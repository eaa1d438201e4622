"""Bundle manifest: the parts of a bundle, and the record of how its models were made.

``record_to_json`` writes a record and ``record_from_json`` reads it, for manifests and for the registry. The keys are those of
0.1.0, and what that release did not record has a default, so that every version on record can be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from vetrina.core.compression import CompressionTrial
from vetrina.core.tuning_result import Fallback, TuningResult

# Keys of the tuning report that are no figures for people.
_OPTIONS = "options"
_BLEND_OPTIONS = "blend_options"  # names of those options that were fitted to the blend
_FALLBACK = "fell_back_to"
_FALLBACK_REASON = "because"
_COMPRESSED = "compressed"  # the only variant of each model in 0.1.0


@dataclass(frozen=True)
class SampleAnswers:
    """Sample requests with a bundle's answers, as JSON values of its scenario.

    Attributes:
        processor: Kind of the processor that computed the answers.
        requests: The requests.
        answers: The answer to each request.
    """

    processor: str
    requests: list[Any]
    answers: list[Any]


@dataclass(frozen=True)
class TrainingRecord:
    """How the models of a bundle were made.

    Attributes:
        data_split: Data that they were trained on: ``judged`` (fit and validation data) or ``served`` (all data).
        is_quick: Whether the scenario's quick recipe made them.
        snapshot: Digest of the snapshot.
        logged: Last sequence number of the service's own logs in the snapshot, by log.
        tuning: What was selected on validation data.
        compression_trials: Compression variants that were tried, without measured times.
        kept_variants: Compression variant of each compressed model.
        samples: Sample answers; None for a bundle without any.
        models: What the training of each model reports.
        vetrina: Version of Vetrina that trained them.
        injected: Kind of candidate, for a copy that a simulation injected; empty for a trained bundle.
    """

    data_split: str = "served"
    is_quick: bool = False
    snapshot: str = ""
    logged: Mapping[str, int] = field(default_factory=dict)
    tuning: TuningResult = field(default_factory=lambda: TuningResult({}))
    compression_trials: tuple[CompressionTrial, ...] = ()
    kept_variants: Mapping[str, str] = field(default_factory=dict)
    samples: SampleAnswers | None = None
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    vetrina: str = ""
    injected: str = ""


@dataclass(frozen=True)
class Bundle:
    """A signed manifest of content-addressed parts with everything that a scenario needs for serving.

    Attributes:
        digest: SHA-256 of the manifest.
        parts: SHA-256 of each file, by its path within the bundle.
        record: How its models were made.
    """

    digest: str
    scenario: str
    parts: Mapping[str, str]
    record: TrainingRecord = field(default_factory=TrainingRecord)

    @property
    def version(self) -> str:
        """Name of the version: the scenario and the first digits of the digest."""
        return f"{self.scenario}-{self.digest[:12]}"


def record_to_json(record: TrainingRecord) -> dict[str, Any]:
    """The record as JSON values."""
    content: dict[str, Any] = {
        "form": record.data_split,
        "quick": record.is_quick,
        "snapshot": record.snapshot,
        "logged": record.logged,
        "settled": _tuning_to_json(record.tuning),
        "compression": [trial.without_timings() for trial in record.compression_trials],
        "kept": record.kept_variants,
        "models": record.models,
        "vetrina": record.vetrina,
    }
    if record.samples is not None:
        content["samples"] = {
            "processor": record.samples.processor,
            "asked": record.samples.requests,
            "answers": record.samples.answers,
        }
    if record.injected:
        content["planted"] = record.injected
    return msgspec.json.decode(msgspec.json.encode(content, enc_hook=to_builtin_number))


def record_from_json(content: Mapping[str, Any]) -> TrainingRecord:
    """The record of these JSON values. Raises ValidationError where they are none."""
    samples = None
    if "samples" in content:
        stored = content["samples"]
        samples = SampleAnswers(stored["processor"], stored["asked"], stored["answers"])
    kept_variants = content.get("kept", {})
    if isinstance(kept_variants, list):  # of 0.1.0
        kept_variants = dict.fromkeys(kept_variants, _COMPRESSED)
    record = TrainingRecord(
        data_split=content.get("form", "served"),
        is_quick=content.get("quick", False),
        snapshot=content.get("snapshot", ""),
        logged=content.get("logged", {}),
        compression_trials=msgspec.convert(content.get("compression", ()), tuple[CompressionTrial, ...]),
        kept_variants=kept_variants,
        samples=samples,
        models=content.get("models", {}),
        vetrina=content.get("vetrina", ""),
        injected=content.get("planted", ""),
    )
    return replace(record, tuning=_tuning_from_json(content.get("settled", {})))


def _tuning_to_json(tuning: TuningResult) -> dict[str, Any]:
    """Weights and settings beside notes, which are the report and the options of serving."""
    notes: dict[str, Any] = {**tuning.report, _OPTIONS: tuning.serving_options}
    if tuning.blend_options:
        notes[_BLEND_OPTIONS] = sorted(tuning.blend_options)
    if tuning.fallback is not None:
        notes[_FALLBACK] = tuning.fallback.baseline
        notes[_FALLBACK_REASON] = tuning.fallback.reason
    return {"weights": tuning.weights, "settings": tuning.settings, "notes": notes}


def _tuning_from_json(content: Mapping[str, Any]) -> TuningResult:
    report = dict(content.get("notes", {}))
    options = dict(report.pop(_OPTIONS, {}))
    blend_options = {name: options.pop(name) for name in report.pop(_BLEND_OPTIONS, ())}
    fallback = None
    baseline = report.pop(_FALLBACK, "")
    reason = report.pop(_FALLBACK_REASON, "")
    if baseline:
        fallback = Fallback(baseline, reason)
    return TuningResult(
        content.get("weights", {}), content.get("settings", {}), options, blend_options, fallback, report
    )


def to_builtin_number(value: Any) -> Any:
    """The Python number of a NumPy one, for JSON."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
