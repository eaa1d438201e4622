"""The compression stage on made-up models: which variants are tried, which one stays, what happens to the others."""

import importlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from vetrina.compress import compress, variant_evaluation
from vetrina.compress.compress import judge_with_labels, variant_training_seconds
from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.core.errors import UnusableVariant
from vetrina.core.progress import NoProgress
from vetrina.core.types import Checkpoint, EvaluationData, MetricValues, TrainingData, TrainingPlan, TrainNotes
from vetrina.scenarios import agreement
from vetrina.scenarios.agreement import Agreement, ReferenceAnswers
from vetrina.scenarios.component_scores import SampledResults

UNITS = 400
REQUESTS = 50
BOLD = CompressionVariant(("bold",))
MILD = CompressionVariant(("mild",))
TAUGHT = CompressionVariant(("distil", "int8"), {"width": 32.0}, training_seconds=100.0)
WORTH = np.random.default_rng(1).uniform(0.4, 0.6, UNITS)
SAME_ANSWERS = [{"a": 1.0, "b": 0.5}] * REQUESTS


def write(folder: Path, lost: float, size: int) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "lost.npy", np.array(lost))
    (folder / "bytes").write_bytes(b"x" * size)


def metric_values(lost: float) -> MetricValues:
    return MetricValues("worth", tuple(map(str, range(UNITS))), WORTH * (1.0 - lost))


def lost_in(model_folder: Path) -> float:
    return float(np.load(model_folder / "lost.npy"))


class Model:
    """Float costs nothing and is large; each form loses what it is told to."""

    def __init__(self, forms: tuple[CompressionVariant, ...], lost: dict[str, float | None]) -> None:
        self.variants = forms
        self._lost = lost
        self.made: list[str] = []

    def compress(self, source: Path, into: Path, form: CompressionVariant, lesson: DistillationData) -> None:
        self.made.append(form.name)
        lost = self._lost[form.name]
        if lost is None:
            raise UnusableVariant("its operator Foo is not supported")
        write(into, lost, 100)
        (into / "form").write_text(form.name)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch) -> Callable[..., Any]:
    """Runs the stage on a checkpoint of these models."""

    scenario = SimpleNamespace(
        evaluate=lambda folder, evidence: metric_values(
            sum(lost_in(file.parent) for file in folder.glob("*/lost.npy"))
        ),
        sample_requests=lambda folder, max_requests: list(range(REQUESTS)),
        sample_unlabelled_requests=lambda folder, max_requests: [],
        answer_requests=lambda folder, requests: SAME_ANSWERS[: len(requests)],
    )

    def run(
        models: dict[str, Model],
        plan: TrainingPlan | None = None,
        component_scores: type["Scores"] | None = None,
        **how: Any,
    ) -> Any:
        source = tmp_path / "source"
        shutil.rmtree(source, ignore_errors=True)
        for name in models:
            (source / name).mkdir(parents=True)
            write(source / name, 0.0, 1_000)
        weights = {"weights": {"home": dict.fromkeys(models, 1.0)}}
        (source / "scenario.json").write_bytes(msgspec.json.encode(weights))
        scenario.component_scores = component_scores or (lambda *_: None)
        for module in (agreement, variant_evaluation):
            monkeypatch.setattr(module, "find_scenario", lambda name: scenario)
        monkeypatch.setattr(importlib.import_module("vetrina.compress.compress"), "find_model", models.__getitem__)
        checkpoint = Checkpoint("made-up", source, {name: TrainNotes() for name in models})
        how = how or {"validation": EvaluationData()}
        return compress(checkpoint, TrainingData(), plan or TrainingPlan(), tmp_path / "small", NoProgress(), **how)

    return run


class Scores:
    """Component scores of a scenario in which only the model "m" is noticed, at a tenth of the cost of all models."""

    hidden_loss = 0.0  # what the approximation does not see

    def __init__(self, folder: Path, models: list[str], evidence: EvaluationData | None, *_: Any) -> None:
        self._labelled = evidence is not None
        self._lost = 0.0
        self._next = 0.0

    @property
    def results(self) -> SampledResults:
        return self._with(self._lost)

    def _with(self, lost: float) -> SampledResults:
        values = metric_values(lost) if self._labelled else None
        return SampledResults(values, SAME_ANSWERS, [], 100.0)

    def trial_cost(self, model: str) -> float:
        return UNITS / 10 if model == "m" else 0.0

    def exchange(self, model: str, model_folder: Path) -> SampledResults:
        self._next = max(0.0, lost_in(model_folder) - self.hidden_loss)
        return self._with(self._next)

    def accept(self) -> None:
        self._lost = self._next

    def exact_results(self, folder: Path) -> SampledResults:
        return self._with(lost_in(folder / "m"))


RUNGS = tuple(CompressionVariant(("prune",), {"keep": keep}) for keep in (1.0, 0.9, 0.7, 0.5, 0.3))


@pytest.mark.parametrize("n_acceptable", [0, 1, 3])
def test_the_ladder_is_climbed_until_the_first_variant_that_fails(stage, n_acceptable):
    losses = dict.fromkeys([rung.name for rung in RUNGS], 0.001)
    losses[RUNGS[n_acceptable].name] = 0.02
    model = Model(RUNGS, losses)
    done = stage({"m": model})
    assert model.made == [rung.name for rung in RUNGS[: n_acceptable + 1]], "nothing after the first failure"
    assert [trial.kept for trial in done.trials] == [at == n_acceptable - 1 for at in range(n_acceptable + 1)]
    assert all("a smaller variant is acceptable, too" in trial.why for trial in done.trials[: n_acceptable - 1])
    if n_acceptable:
        assert (done.folder / "m" / "form").read_text() == RUNGS[n_acceptable - 1].name


def test_every_variant_is_judged_against_the_model_as_it_was(stage):
    done = stage({"m": Model((MILD, BOLD), {"mild": 0.004, "bold": 0.008})})
    assert [(trial.step, trial.kept) for trial in done.trials] == [("mild", True), ("bold", False)]
    assert done.trials[0].quality_before == done.trials[1].quality_before
    assert done.trials[1].quality_after == pytest.approx(0.992 * done.trials[0].quality_before)
    assert lost_in(done.folder / "m") == 0.004


def test_component_scores_that_miss_a_loss_are_overruled_by_the_exact_evaluation(stage):
    class Blind(Scores):
        hidden_loss = 0.02

    done = stage({"m": Model((MILD, BOLD), {"mild": 0.001, "bold": 0.02})}, component_scores=Blind)
    assert done.kept_variants == {"m": "mild"}
    assert (done.folder / "m" / "form").read_text() == "mild"
    assert [trial.kept for trial in done.trials] == [True, False]
    assert done.trials[1].why.startswith("undone, exactly judged with all others: loss +2.00%")
    nothing = stage({"m": Model((MILD,), {"mild": 0.02})}, component_scores=Blind)
    assert nothing.kept_variants == {}
    assert (nothing.folder / "m" / "bytes").stat().st_size == 1_000, "the float model is back"


@pytest.mark.parametrize("lost", [0.02, None, np.nan])
def test_where_no_form_fits_the_float_model_is_back_and_the_report_says_why(stage, lost):
    done = stage({"m": Model((MILD,), {"mild": lost})})
    assert done.kept_variants == {}
    assert (done.folder / "m" / "bytes").stat().st_size == 1_000
    why = {0.02: "loss +2.00%", None: "its operator Foo is not supported"}.get(lost, "its answers are no numbers")
    assert why in done.trials[0].why


def test_aggressive_variants_of_a_model_that_no_sampled_answer_depends_on_are_not_taken_on_trust(stage):
    models = {name: Model((MILD, BOLD), {"mild": 0.0, "bold": 0.0}) for name in ("m", "other")}
    assert stage(models, component_scores=Scores).kept_variants == {"m": "bold", "other": "mild"}
    only_aggressive = {"other": Model((replace(MILD, is_aggressive=True),), {"mild": 0.0})}
    assert stage(only_aggressive, component_scores=Scores).trials == ()


def test_answers_that_no_label_stands_for_have_to_stay_as_they_were():
    scores = MetricValues("worth", tuple(map(str, range(UNITS))), WORTH)
    assert judge_with_labels("m", "int8", scores, scores, (10, 5), Agreement(500, 1.0, unjudged=0.96)).kept
    other = judge_with_labels("m", "int8", scores, scores, (10, 5), Agreement(500, 1.0, unjudged=0.94))
    assert not other.kept
    assert "94.0% where nothing is judged" in other.why
    gentle = judge_with_labels(
        "m", "int8", scores, scores, (10, 5), Agreement(500, 1.0, unjudged=0.94), is_aggressive=False
    )
    assert gentle.kept, "as where nobody can compare at all"


def test_where_nothing_is_labelled_answers_decide_on_every_form(stage, monkeypatch):
    def answered(self: ReferenceAnswers, folder: Path) -> tuple[list[dict[str, float]], float]:
        changed = round(50 * float(np.load(folder / "m" / "lost.npy")))
        return [{"b" if at < changed else "a": 1.0} for at in range(50)], 1.0

    monkeypatch.setattr(ReferenceAnswers, "_answer_and_time", answered)
    done = stage({"m": Model((MILD, BOLD), {"bold": 0.1, "mild": 0.02})}, validation=None)
    assert [(s.step, s.kept, s.quality_after) for s in done.trials] == [("mild", True, 0.98), ("bold", False, 0.9)]
    assert done.trials[0].why == "nothing is labelled; 4.7 times smaller; 98.0% of 50 answers as before"
    worse = stage({"m": Model((MILD,), {"mild": 0.1})}, validation=None)
    assert worse.kept_variants == {}, "the gentlest form is not taken on trust where nothing else speaks for it"


def test_without_labels_a_model_that_no_sampled_answer_depends_on_stays_as_it_is(stage):
    models = {"other": Model((MILD, BOLD), {"mild": 0.0, "bold": 0.0})}
    assert stage(models, component_scores=Scores, validation=None).trials == ()
    assert stage({"m": models["other"]}, component_scores=Scores, validation=None).kept_variants == {"m": "bold"}


def test_models_with_a_single_mild_variant_come_last(stage):
    untested = Model((MILD,), {"mild": 0.0})
    judged = Model((MILD, BOLD), {"mild": 0.0, "bold": 0.02})
    assert [s.model for s in stage({"a": untested, "b": judged}).trials] == ["b", "b", "a"]


def test_a_variant_that_the_plan_cannot_afford_ends_the_ladder(stage):
    models = {name: Model((MILD, BOLD), {"mild": 0.0, "bold": 0.0}) for name in ("a", "b", "c")}
    done = stage(models, TrainingPlan(answers=UNITS + REQUESTS))
    assert done.kept_variants == {"a": "bold", "b": "mild", "c": "mild"}
    assert [model.made for model in models.values()] == [["mild", "bold"], ["mild"], ["mild"]]
    one_answer_short = TrainingPlan(answers=UNITS + REQUESTS - 1)
    assert set(stage(models, one_answer_short).kept_variants.values()) == {"mild"}
    on_component_scores = TrainingPlan(answers=UNITS // 10)
    assert stage({"m": models["a"]}, on_component_scores, Scores).kept_variants == {"m": "bold"}


def test_a_distilled_variant_needs_time_to_train(stage):
    distilled = Model((MILD, TAUGHT, BOLD), {"mild": 0.0, TAUGHT.name: 0.001, "bold": 0.0})
    stage({"m": distilled}, TrainingPlan(budget_seconds=600.0))
    assert distilled.made == ["mild"]
    stage({"m": distilled}, TrainingPlan(budget_seconds=6_000.0))
    assert distilled.made[1:] == ["mild", TAUGHT.name, "bold"]
    assert (
        variant_training_seconds(TAUGHT, replace(TrainingPlan(), threads=1))
        == 2 * variant_training_seconds(TAUGHT, replace(TrainingPlan(), threads=2))
        == 600.0
    )


def test_what_was_decided_is_repeated_without_judging(stage):
    model = Model((MILD, BOLD), {"bold": 0.5, "mild": 0.0})
    done = stage({"m": model}, repeat_variants={"m": "bold", "gone": "int8"})
    assert done.trials == ()
    assert float(np.load(done.folder / "m" / "lost.npy")) == 0.5
    nothing = stage({"m": model}, repeat_variants={})
    assert (nothing.folder / "m" / "bytes").stat().st_size == 1_000


def test_few_labels_ask_for_like_answers_too():
    noisy = np.random.default_rng(2).uniform(0, 1, 60)
    scores = MetricValues("worth", tuple(map(str, range(60))), noisy)
    assert judge_with_labels("m", "int8", scores, scores, (10, 5), Agreement(500, 0.95)).kept
    assert not judge_with_labels("m", "int8", scores, scores, (10, 5), Agreement(500, 0.85)).kept
    assert not judge_with_labels("m", "int8", scores, scores, (10, 10), Agreement(500, 1.0)).kept
