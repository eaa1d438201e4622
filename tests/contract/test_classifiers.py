"""What every model of a table keeps, whoever wrote it; models are found, not listed."""

from pathlib import Path

import numpy as np
import pytest
from opened_types import opened_type

from vetrina.core.compression import DistillationData
from vetrina.core.labelled_tables import EncodedTable, LabelledTable, LabelScaler
from vetrina.core.progress import NoProgress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.evaluation.classification import roc_auc
from vetrina.models.base import find_model, model_names
from vetrina.scenarios.ads.scenario import RECIPE as ads
from vetrina.scenarios.predict.prepare import models_for

# The model `onnx` learns nothing: tests/path/test_foreign_models.py brings it files.
FOUND = [name for name in model_names() if name != "onnx" and hasattr(opened_type(name), "predict")]
NUMBERS = models_for(TrainingData(table=LabelledTable({}, np.arange(3.0))))
ASKED_FOR = {*models_for(TrainingData(table=LabelledTable({}, np.arange(2.0)))), *ads.models}
CLASSIFIERS = [n for n in FOUND if n in ASKED_FOR]
ROWS = 1_500
COLUMNS = 5


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Yes in nine of ten rows whose first number is above nought, in one of ten others; four numbers say nothing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    return x, (rng.random(ROWS) < np.where(x[:, 0] > 0, 0.9, 0.1)).astype(np.float32)


def fitted(name: str, into: Path) -> Path:
    """Learnt from the first draw."""
    into.mkdir(parents=True)
    x, label = drawn(1)
    past = TrainingData(encoded_table=EncodedTable(x, label=label))
    find_model(name).fit(past, TrainingPlan(threads=1), into, NoProgress())
    return into


@pytest.fixture(scope="module", params=CLASSIFIERS)
def folder(request, tmp_path_factory) -> tuple[str, Path]:
    """Each classifier fitted once."""
    return request.param, fitted(request.param, tmp_path_factory.mktemp(request.param) / "a")


def opened(folder: tuple[str, Path]):
    """As it serves."""
    return find_model(folder[0]).load(folder[1])


def test_there_are_some():
    assert {"mlp", "logistic", "boosted", "tree"} <= set(CLASSIFIERS)
    assert set(FOUND) == {*CLASSIFIERS, *NUMBERS}


def test_rows_never_seen_are_told_apart_and_probabilities_are_right_on_the_whole(folder):
    x, label = drawn(2)
    said = opened(folder).predict(EncodedTable(x))
    assert said.shape == (ROWS,)
    assert said.dtype == np.float32
    assert roc_auc(label, said) > 0.85
    assert abs(float(said.mean()) - float(label.mean())) < 0.04
    assert abs(float(said[x[:, 0] > 0.3].mean()) - 0.9) < 0.08


def test_any_number_gives_a_probability(folder):
    wild = np.array([[8.0] * COLUMNS, [-8.0] * COLUMNS, [0.0] * COLUMNS], np.float32)
    said = opened(folder).predict(EncodedTable(wild))
    assert np.isfinite(said).all()
    assert ((said >= 0) & (said <= 1)).all()


def test_fitting_twice_gives_the_same_answers(folder, tmp_path):
    again = find_model(folder[0]).load(fitted(folder[0], tmp_path / "b"))
    np.testing.assert_array_equal(
        opened(folder).predict(EncodedTable(drawn(3)[0])), again.predict(EncodedTable(drawn(3)[0]))
    )


def test_every_small_form_tells_rows_apart_nearly_as_well(folder, tmp_path):
    model = find_model(folder[0])
    if not model.variants:
        pytest.skip("offers no smaller form")
    (x, label) = drawn(2)
    lesson = DistillationData(
        lambda: TrainingData(encoded_table=EncodedTable(drawn(1)[0], label=drawn(1)[1])),
        TrainingPlan(threads=1),
        NoProgress(),
    )
    for number, form in enumerate(model.variants):
        into = tmp_path / str(number)
        into.mkdir()
        model.compress(folder[1], into, form, lesson)
        small = find_model(folder[0]).load(into).predict(EncodedTable(x))
        assert roc_auc(label, small) > roc_auc(label, opened(folder).predict(EncodedTable(x))) - 0.01
        assert abs(float(small.mean()) - float(label.mean())) < 0.06


def measured(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """In standard units: twice the first number less the second, over their spread, with a fifth of it noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    return x, ((2 * x[:, 0] - x[:, 1]) / 5**0.5 + rng.normal(size=ROWS) * 0.2).astype(np.float32)


def numbered(name: str, into: Path) -> Path:
    """Learnt from the first draw."""
    into.mkdir(parents=True)
    x, label = measured(1)
    past = TrainingData(encoded_table=EncodedTable(x, label=label, label_scaler=LabelScaler(0.0, 1.0, -5.0, 5.0)))
    find_model(name).fit(past, TrainingPlan(threads=1), into, NoProgress())
    return into


@pytest.fixture(scope="module", params=NUMBERS)
def number_folder(request, tmp_path_factory) -> tuple[str, Path]:
    """Each model of numbers fitted once."""
    return request.param, numbered(request.param, tmp_path_factory.mktemp(request.param) / "a")


def test_numbers_of_rows_never_seen_are_told(number_folder):
    x, label = measured(2)
    said = opened(number_folder).predict(EncodedTable(x))
    assert said.shape == (ROWS,)
    assert said.dtype == np.float32
    unexplained = float(((said - label) ** 2).mean() / label.var())
    assert unexplained < (0.35 if number_folder[0] == "tree" else 0.1)
    assert abs(float(said.mean()) - float(label.mean())) < 0.05


def test_any_number_gives_a_number_and_twice_the_same(number_folder, tmp_path):
    wild = EncodedTable(np.array([[8.0] * COLUMNS, [-8.0] * COLUMNS, [0.0] * COLUMNS], np.float32))
    again = find_model(number_folder[0]).load(numbered(number_folder[0], tmp_path / "b"))
    said = opened(number_folder).predict(wild)
    assert np.isfinite(said).all()
    np.testing.assert_array_equal(said, again.predict(wild))
