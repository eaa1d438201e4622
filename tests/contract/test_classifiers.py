"""What every classifier of a table keeps, whoever wrote it; classifiers are found, not listed."""

from pathlib import Path

import numpy as np
import pytest

from vetrina.core import plugins
from vetrina.core.progress import Silent
from vetrina.core.types import Past, Plan, Rows
from vetrina.metrics.classification import roc_auc

CLASSIFIERS = [
    n
    for n in plugins.names("models")
    if n != "onnx"  # learns nothing: tests/path/test_foreign_models.py brings it files
    and plugins.has_part("models", n, "online")
    and "def probability(" in Path(str(plugins.part("models", n, "online").__file__)).read_text()
]
ROWS, COLUMNS = 1_500, 5


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Yes in nine of ten rows whose first number is above nought, in one of ten others; four numbers say nothing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    return x, (rng.random(ROWS) < np.where(x[:, 0] > 0, 0.9, 0.1)).astype(np.float32)


def fitted(name: str, into: Path) -> Path:
    """Learnt from the first draw."""
    into.mkdir(parents=True)
    x, label = drawn(1)
    past = Past(rows=Rows(x, label=label))
    plugins.part("models", name, "train").fit(past, Plan(threads=1), into, Silent())
    return into


@pytest.fixture(scope="module", params=CLASSIFIERS)
def folder(request, tmp_path_factory) -> tuple[str, Path]:
    """Each classifier fitted once."""
    return request.param, fitted(request.param, tmp_path_factory.mktemp(request.param) / "a")


def opened(folder: tuple[str, Path]):
    """As it serves."""
    return plugins.part("models", folder[0], "online").open(folder[1])


def test_there_are_some():
    assert {"mlp", "logistic", "boosted", "tree"} <= set(CLASSIFIERS)


def test_rows_never_seen_are_told_apart_and_probabilities_are_right_on_the_whole(folder):
    x, label = drawn(2)
    said = opened(folder).probability(Rows(x))
    assert said.shape == (ROWS,)
    assert said.dtype == np.float32
    assert roc_auc(label, said) > 0.85
    assert abs(float(said.mean()) - float(label.mean())) < 0.04
    assert abs(float(said[x[:, 0] > 0.3].mean()) - 0.9) < 0.08


def test_any_number_gives_a_probability(folder):
    wild = np.array([[8.0] * COLUMNS, [-8.0] * COLUMNS, [0.0] * COLUMNS], np.float32)
    said = opened(folder).probability(Rows(wild))
    assert np.isfinite(said).all()
    assert ((said >= 0) & (said <= 1)).all()


def test_fitting_twice_gives_the_same_answers(folder, tmp_path):
    again = plugins.part("models", folder[0], "online").open(fitted(folder[0], tmp_path / "b"))
    np.testing.assert_array_equal(opened(folder).probability(Rows(drawn(3)[0])), again.probability(Rows(drawn(3)[0])))
