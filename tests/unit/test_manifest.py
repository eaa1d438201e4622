"""What a manifest or the registry holds of a bundle reads as it was written, and so does what 0.1.0 wrote."""

import msgspec
import numpy as np

from vetrina.bundle.manifest import SampleAnswers, TrainingRecord, record_from_json, record_to_json
from vetrina.core.compression import CompressionTrial
from vetrina.core.tuning_result import Fallback, TuningResult

TUNED = TuningResult(
    weights={"predict": {"mlp": 0.5, "logistic": 0.5}},
    settings={"mlp": {"epochs": 3.0}},
    options={"threshold": 0.4},
    blend_options={"calibration": {"x": [0.0, 1.0], "y": [0.1, 0.9]}},
    report={"rows": 200},
)


def written(record: TrainingRecord) -> TrainingRecord:
    """The record after JSON."""
    return record_from_json(msgspec.json.decode(msgspec.json.encode(record_to_json(record))))


def test_a_record_reads_as_it_was_written():
    trial = CompressionTrial("mlp", "int8", True, 400, 100, 0.5, 0.5, 0.0, "no loss", 1.0)
    record = TrainingRecord(
        data_split="judged",
        is_quick=True,
        snapshot="s",
        logged={"events": 3},
        tuning=TUNED.with_baseline(Fallback("logistic", "the mean is not as good")),
        compression_trials=(trial,),
        kept_variants={"mlp": "int8"},
        samples=SampleAnswers("a processor", [["x"]], [{"True": 1.0}]),
        models={"logistic": {"loss": 0.1}},
        vetrina="0.2.0",
        injected="same",
    )
    assert written(record) == record
    assert written(TrainingRecord(tuning=TUNED)).tuning == TUNED
    assert written(TrainingRecord(models={"mlp": {"loss": np.float32(0.5)}})).models == {"mlp": {"loss": 0.5}}


def test_a_baseline_keeps_only_the_options_that_hold_for_any_weights():
    alone = TUNED.with_baseline(Fallback("logistic", "the mean is not as good"))
    assert alone.weights == {"predict": {"mlp": 0.0, "logistic": 1.0}}
    assert TUNED.serving_options.keys() == {"threshold", "calibration"}
    assert alone.serving_options == {"threshold": 0.4}


def test_a_record_of_0_1_0_reads():
    notes = {
        "options": {"exclude_seen": False},
        "fell_back_to": "popular",
        "because": "not as good",
        "repeat_share": 1.0,
    }
    content = {
        "form": "served",
        "settled": {"weights": {"home": {"popular": 1.0}}, "epochs": {"sasrec": 12}, "notes": notes},
        "kept": ["sasrec"],
        "types": {"purchase": 300},
    }
    record = record_from_json(content)
    assert not record.is_quick
    assert record.kept_variants == {"sasrec": "compressed"}
    assert record.tuning.options == {"exclude_seen": False}
    assert record.tuning.fallback == Fallback("popular", "not as good")
    assert record.tuning.report == {"repeat_share": 1.0}
