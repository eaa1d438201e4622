"""The stage on made-up models: which form is tried, which is kept, what the others leave behind."""

import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.compress import compress
from vetrina.compress.compress import judge_with_labels, variant_training_seconds
from vetrina.compress.variant_search import middle_variant, remaining_variants
from vetrina.core import plugins
from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.core.errors import UnusableVariant
from vetrina.core.progress import NoProgress
from vetrina.core.types import Checkpoint, EvaluationData, MetricValues, TrainingData, TrainingPlan
from vetrina.scenarios.agreement import Agreement, ReferenceAnswers

UNITS = 400
BOLD = CompressionVariant(("bold",))
MILD = CompressionVariant(("mild",))
TAUGHT = CompressionVariant(("distil", "int8"), {"width": 32.0}, training_seconds=100.0)
WORTH = np.random.default_rng(1).uniform(0.4, 0.6, UNITS)


def write(folder: Path, lost: float, size: int) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "lost.npy", np.array(lost))
    (folder / "bytes").write_bytes(b"x" * size)


class Model:
    """Float costs nothing and is large; each form loses what it is told to."""

    def __init__(self, forms: tuple[CompressionVariant, ...], lost: dict[str, float | None]) -> None:
        self.VARIANTS = forms
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

    def lost(folder: Path) -> float:
        return sum(float(np.load(f)) for f in sorted(folder.glob("*/lost.npy")))

    evaluation = SimpleNamespace(
        evaluate=lambda folder, evidence: MetricValues(
            "worth", tuple(map(str, range(UNITS))), WORTH * (1.0 - lost(folder))
        ),
        sample_requests=lambda folder, max_requests: list(range(50)),
        answer_requests=lambda folder, requests: [{"a": 1.0, "b": 0.5} for _ in requests],
    )

    def run(
        models: dict[str, Model],
        plan: TrainingPlan | None = None,
        compared: set[str] | None = None,
        pages: Collection[str] = (),
        **how: Any,
    ) -> Any:
        source = tmp_path / "source"
        shutil.rmtree(source, ignore_errors=True)
        for name in models:
            (source / name).mkdir(parents=True)
            write(source / name, 0.0, 1_000)
        weights = {"weights": {"home": dict.fromkeys(models, 1.0)}}
        (source / "scenario.json").write_bytes(msgspec.json.encode(weights))
        part = {("scenarios", "made-up", "evaluate"): evaluation}
        part |= {("models", name, "compress"): model for name, model in models.items()}
        monkeypatch.setattr(plugins, "load_module", lambda *where: part[where])
        monkeypatch.setattr(plugins, "has_module", lambda *where: where in part)
        checkpoint = Checkpoint("made-up", source, {name: {} for name in models})
        how = how or {"validation": EvaluationData()}
        if compared is not None:
            evaluation.contributing_models = lambda folder, evidence: (compared, set(pages))
        return compress(checkpoint, TrainingData(), plan or TrainingPlan(), tmp_path / "small", NoProgress(), **how)

    return run


FORMS = tuple(CompressionVariant(("prune",), {"keep": keep}) for keep in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0))


def losing(forms: tuple[CompressionVariant, ...], first: int) -> dict[str, float | None]:
    """Forms from the ``first`` on cost nothing."""
    return {form.name: 0.001 if at >= first else 0.02 for at, form in enumerate(forms)}


@pytest.mark.parametrize("first", range(len(FORMS)))
def test_the_smallest_form_that_costs_nothing_is_found_with_three_judgements_of_seven(stage, first):
    model = Model(FORMS, losing(FORMS, first))
    done = stage({"m": model})
    assert done.kept_variants == {"m": FORMS[first].name}
    assert len(model.made) == 3
    assert float(np.load(done.folder / "m" / "lost.npy")) == 0.001
    assert (done.folder / "m" / "form").read_text() == FORMS[first].name
    surpassed = [s for s in done.trials if "a smaller form may stay, too" in s.why]
    assert all(not s.kept for s in surpassed)
    assert len(surpassed) + 1 == sum(s.quality_after > 0.99 * s.quality_before for s in done.trials)


@given(st.data())
def test_the_search_ends_with_the_cheapest_of_a_grid_that_passes_where_less_is_never_better(data):
    shares = st.lists(st.integers(1, 9), unique=True, min_size=1, max_size=4)
    bits = [4.0, 8.0, 16.0]
    grid = [
        CompressionVariant(("prune",), {"keep": k / 10, "bits": b}) for k in sorted(data.draw(shares)) for b in bits
    ]
    keep = data.draw(st.integers(1, 10)) / 10
    least = data.draw(st.sampled_from(bits))
    passes = [f for f in grid if f.settings["keep"] >= keep and f.settings["bits"] >= least]
    open_ = tuple(grid)
    best = None
    judged = []
    while open_:
        form = middle_variant(open_)
        judged.append(form)
        if form in passes:
            best = form
        open_ = remaining_variants(open_, form, form in passes)
    assert len(judged) == len(set(f.name for f in judged))
    assert best == (passes[0] if passes else None)


def test_a_taught_form_says_nothing_of_one_that_is_not_taught():
    small = CompressionVariant(("distil", "int8"), {"width": 32.0}, training_seconds=100.0)
    plain = CompressionVariant(("int8",))
    assert remaining_variants((small, plain), plain, is_kept=False) == (small,)
    assert remaining_variants((small, plain), small, is_kept=False) == (plain,)


def test_a_form_that_costs_too_much_is_undone_and_the_next_is_judged_against_the_same(stage):
    model = Model((BOLD, MILD), {"bold": 0.02, "mild": 0.002})
    done = stage({"m": model})
    assert [(s.step, s.kept) for s in done.trials] == [("bold", False), ("mild", True)]
    assert done.trials[0].quality_after == pytest.approx(0.98 * done.trials[0].quality_before)
    assert done.trials[1].quality_before == done.trials[0].quality_before
    assert float(np.load(done.folder / "m" / "lost.npy")) == 0.002


@pytest.mark.parametrize("lost", [0.02, None, np.nan])
def test_where_no_form_fits_the_float_model_is_back_and_the_report_says_why(stage, lost):
    done = stage({"m": Model((MILD,), {"mild": lost})})
    assert done.kept_variants == {}
    assert (done.folder / "m" / "bytes").stat().st_size == 1_000
    why = {0.02: "loss +2.00%", None: "its operator Foo is not supported"}.get(lost, "its answers are no numbers")
    assert why in done.trials[0].why


def test_bold_forms_of_a_model_whose_answers_nobody_compares_are_not_taken_on_trust(stage):
    model = Model((BOLD, MILD), {"bold": 0.0, "mild": 0.0})
    done = stage({"m": model}, compared={"another"})
    assert [(s.step, s.kept) for s in done.trials] == [("mild", True)]
    assert stage({"m": model}, compared={"m"}).kept_variants == {"m": "bold"}


def test_what_a_model_says_nothing_of_is_not_asked_again(stage, monkeypatch):
    asked = []
    monkeypatch.setattr(
        ReferenceAnswers, "_answer_unlabelled", lambda self, folder: asked.append("page") or [{"a": 1.0}]
    )
    monkeypatch.setattr(
        ReferenceAnswers, "_answer_and_time", lambda self, folder: (asked.append("label"), ([{"a": 1.0}] * 50, 1.0))[1]
    )
    models = {name: Model((MILD,), {"mild": 0.02}) for name in ("a", "b")}
    assert stage(models, compared={"a"}, pages={"b"}).kept_variants == {"b": "mild"}, (
        "what labels would say of b is not asked"
    )
    assert asked == ["label", "page", "label", "page"]


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
    done = stage({"m": Model((BOLD, MILD), {"bold": 0.1, "mild": 0.02})}, validation=None)
    assert [(s.step, s.kept, s.quality_after) for s in done.trials] == [("bold", False, 0.9), ("mild", True, 0.98)]
    assert done.trials[1].why == "nothing is labelled; 4.7 times smaller; 98.0% of 50 answers as before"
    worse = stage({"m": Model((MILD,), {"mild": 0.1})}, validation=None)
    assert worse.kept_variants == {}, "the gentlest form is not taken on trust where nothing else speaks for it"


def test_bold_forms_of_what_is_built_small_are_not_taken_on_trust(stage):
    bold = Model((replace(MILD, is_aggressive=True),), {"mild": 0.0})
    assert stage({"m": bold}, compared={"another"}).trials == ()
    assert stage({"m": bold}, compared={"m"}).kept_variants == {"m": "mild"}


def test_without_labels_and_without_anybody_to_ask_models_stay_as_they_are(stage):
    models = {"m": Model((BOLD, MILD), {"bold": 0.0, "mild": 0.0})}
    for pages in ((), {"m"}):  # of pages there are none
        assert stage(models, compared={"another"}, pages=pages, validation=None).trials == ()


def test_forms_that_nobody_has_to_trust_are_judged_before_the_others(stage):
    trusted = Model((MILD,), {"mild": 0.0})
    judged = Model((BOLD, MILD), {"bold": 0.0, "mild": 0.0})
    assert [s.model for s in stage({"a": trusted, "b": judged}).trials] == ["b", "a"]


def test_bold_forms_are_tried_while_the_plan_pays_for_them(stage):
    models = {n: Model((BOLD, MILD), {"bold": 0.02, "mild": 0.0}) for n in ("a", "b", "c")}
    done = stage(models, TrainingPlan(answers=UNITS + 50))
    assert [m.made for m in models.values()] == [["bold", "mild"], ["mild"], ["mild"]]
    assert set(done.kept_variants.values()) == {"mild"}
    models = {n: Model((BOLD, MILD), {"bold": 0.02, "mild": 0.0}) for n in ("a", "b", "c")}
    stage(models, TrainingPlan(answers=UNITS + 49))
    assert [m.made for m in models.values()] == [["mild"], ["mild"], ["mild"]], "one answer short"
    taught = Model((TAUGHT, MILD), {"mild": 0.0, TAUGHT.name: 0.001})
    stage({"m": taught}, TrainingPlan(budget_seconds=600.0))
    assert taught.made == ["mild"]
    stage({"m": taught}, TrainingPlan(budget_seconds=6_000.0))
    assert taught.made[1:] == ["distil + int8 (width 32)"]
    assert (
        variant_training_seconds(TAUGHT, replace(TrainingPlan(), threads=1))
        == 2 * variant_training_seconds(TAUGHT, replace(TrainingPlan(), threads=2))
        == 600.0
    )


def test_what_was_decided_is_repeated_without_judging(stage):
    model = Model((BOLD, MILD), {"bold": 0.5, "mild": 0.0})
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
