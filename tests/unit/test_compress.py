"""The stage on made-up models: which form is tried, which is kept, what the others leave behind."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from vetrina.compress import compress
from vetrina.compress.compress import judge, paid
from vetrina.core import plugins
from vetrina.core.compression import Form, Lesson
from vetrina.core.errors import Unfit
from vetrina.core.progress import Silent
from vetrina.core.types import Checkpoint, Evidence, Past, Plan, Scores
from vetrina.scenarios.agreement import Agreement

UNITS = 400
BOLD, MILD, TAUGHT = Form(("bold",)), Form(("mild",)), Form(("distil", "int8"), {"width": 32.0}, seconds=100.0)
WORTH = np.random.default_rng(1).uniform(0.4, 0.6, UNITS)


def write(folder: Path, lost: float, size: int) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "lost.npy", np.array(lost))
    (folder / "bytes").write_bytes(b"x" * size)


class Model:
    """Float costs nothing and is large; each form loses what it is told to."""

    def __init__(self, forms: tuple[Form, ...], lost: dict[str, float | None]) -> None:
        self.FORMS, self._lost = forms, lost
        self.made: list[str] = []

    def compress(self, source: Path, into: Path, form: Form, lesson: Lesson) -> None:
        self.made.append(form.name)
        lost = self._lost[form.name]
        if lost is None:
            raise Unfit("its operator Foo is not supported")
        write(into, lost, 100)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch) -> Callable[..., Any]:
    """Runs the stage on a checkpoint of these models."""

    def lost(folder: Path) -> float:
        return sum(float(np.load(f)) for f in sorted(folder.glob("*/lost.npy")))

    evaluation = SimpleNamespace(
        evaluate=lambda folder, evidence: Scores("worth", tuple(map(str, range(UNITS))), WORTH * (1.0 - lost(folder))),
        requests=lambda folder, most: list(range(50)),
        answers=lambda folder, asked: [{"a": 1.0, "b": 0.5} for _ in asked],
    )

    def run(models: dict[str, Model], plan: Plan | None = None, **how: Any) -> Any:
        source = tmp_path / "source"
        shutil.rmtree(source, ignore_errors=True)
        for name in models:
            (source / name).mkdir(parents=True)
            write(source / name, 0.0, 1_000)
        weights = {"weights": {"home": dict.fromkeys(models, 1.0)}}
        (source / "scenario.json").write_bytes(msgspec.json.encode(weights))
        part = {("scenarios", "made-up", "evaluate"): evaluation}
        part |= {("models", name, "compress"): model for name, model in models.items()}
        monkeypatch.setattr(plugins, "part", lambda *where: part[where])
        monkeypatch.setattr(plugins, "has_part", lambda *where: where in part)
        checkpoint = Checkpoint("made-up", source, {name: {} for name in models})
        how = how or {"validation": Evidence()}
        return compress(checkpoint, Past(), plan or Plan(), tmp_path / "small", Silent(), **how)

    return run


def test_the_first_form_that_costs_nothing_is_kept_and_the_rest_is_not_tried(stage):
    model = Model((BOLD, MILD), {"bold": 0.001, "mild": 0.0})
    done = stage({"m": model})
    assert model.made == ["bold"]
    assert done.kept == {"m": "bold"}
    assert (done.folder / "m" / "bytes").stat().st_size == 100
    assert done.steps[0].bytes_before > 4 * done.steps[0].bytes_after


def test_a_form_that_costs_too_much_is_undone_and_the_next_is_judged_against_the_same(stage):
    model = Model((BOLD, MILD), {"bold": 0.02, "mild": 0.002})
    done = stage({"m": model})
    assert [(s.step, s.kept) for s in done.steps] == [("bold", False), ("mild", True)]
    assert done.steps[0].quality_after == pytest.approx(0.98 * done.steps[0].quality_before)
    assert done.steps[1].quality_before == done.steps[0].quality_before
    assert float(np.load(done.folder / "m" / "lost.npy")) == 0.002


@pytest.mark.parametrize("lost", [0.02, None, np.nan])
def test_where_no_form_fits_the_float_model_is_back_and_the_report_says_why(stage, lost):
    done = stage({"m": Model((MILD,), {"mild": lost})})
    assert done.kept == {}
    assert (done.folder / "m" / "bytes").stat().st_size == 1_000
    why = {0.02: "loss +2.00%", None: "its operator Foo is not supported"}.get(lost, "its answers are no numbers")
    assert why in done.steps[0].why


def test_a_bold_form_of_a_model_that_no_judged_answer_asks_is_not_taken_on_trust(stage):
    model = Model((BOLD, MILD), {"bold": 0.0, "mild": 0.0})
    done = stage({"m": model})
    assert [(s.step, s.kept) for s in done.steps] == [("bold", False), ("mild", True)]
    assert "no answer that is judged asks it" in done.steps[0].why


def test_bold_forms_are_tried_while_the_plan_pays_for_them(stage):
    models = {n: Model((BOLD, MILD), {"bold": 0.02, "mild": 0.0}) for n in ("a", "b", "c")}
    done = stage(models, Plan(tries=1))
    assert [m.made for m in models.values()] == [["bold", "mild"], ["mild"], ["mild"]]
    assert set(done.kept.values()) == {"mild"}
    taught = Model((TAUGHT, MILD), {"mild": 0.0, TAUGHT.name: 0.001})
    stage({"m": taught}, Plan(budget_seconds=600.0))
    assert taught.made == ["mild"]
    stage({"m": taught}, Plan(budget_seconds=6_000.0))
    assert taught.made[1:] == ["distil + int8 (width 32)"]
    assert paid(TAUGHT, replace(Plan(), budget_seconds=2_000.0, threads=2))
    assert not paid(TAUGHT, replace(Plan(), budget_seconds=2_000.0, threads=1))


def test_what_was_decided_is_repeated_without_judging(stage):
    model = Model((BOLD, MILD), {"bold": 0.5, "mild": 0.0})
    done = stage({"m": model}, repeat={"m": "bold", "gone": "int8"})
    assert done.steps == ()
    assert float(np.load(done.folder / "m" / "lost.npy")) == 0.5
    nothing = stage({"m": model}, repeat={})
    assert (nothing.folder / "m" / "bytes").stat().st_size == 1_000


def test_few_labels_ask_for_like_answers_too():
    noisy = np.random.default_rng(2).uniform(0, 1, 60)
    scores = Scores("worth", tuple(map(str, range(60))), noisy)
    assert judge("m", "int8", scores, scores, (10, 5), Agreement(500, 0.95)).kept
    assert not judge("m", "int8", scores, scores, (10, 5), Agreement(500, 0.85)).kept
    assert not judge("m", "int8", scores, scores, (10, 10), Agreement(500, 1.0)).kept
