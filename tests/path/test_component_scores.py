"""Component scores of recommend beside the evaluation of whole folders, in a shop whose products are all candidates."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from vetrina import Shop
from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.core.progress import NoProgress
from vetrina.core.types import EvaluationData, Targets, TrainingData, TrainingPlan
from vetrina.models.item_knn.compress import compress
from vetrina.scenarios.recommend import evaluate
from vetrina.scenarios.recommend.component_scores import ComponentScores
from vetrina.scenarios.recommend.online import Recommender

MODEL = "item_knn"
PRUNED = CompressionVariant(("prune", "int8"), {"keep": 0.1})


@pytest.fixture
def folder(pristine, tmp_path: Path) -> Path:
    """The float models of a shop, blended without trees, with weight on the model that is compressed."""
    work = pristine[0] / "work" / "recommend" / "judged"
    return shutil.copytree(work, tmp_path / "float")


def next_purchases(folder: Path) -> EvaluationData:
    """Each sampled user goes on with three products; one user is new."""
    recommender = Recommender(folder)
    users = [*recommender.histories.sample_users(20), "somebody new"]
    rng = np.random.default_rng(0)
    items = tuple(rng.choice(len(recommender.catalogue), 3, replace=False).astype(np.int32) for _ in users)
    return EvaluationData(targets=Targets(tuple(users), items), now=recommender.histories.until)


def assert_equal_to_whole_folder(results, folder: Path, evaluation_data: EvaluationData) -> None:
    exact = evaluate.evaluate(folder, evaluation_data)
    assert results.metric_values.unit_ids == exact.unit_ids
    np.testing.assert_array_equal(results.metric_values.values, exact.values)
    assert results.answers == evaluate.answer_requests(folder, evaluate.sample_requests(folder, 30))
    unlabelled = evaluate.sample_unlabelled_requests(folder, 3)
    assert results.unlabelled_answers == evaluate.answer_requests(folder, unlabelled)


def test_stored_scores_give_the_metric_and_the_answers_of_the_whole_folder(folder: Path, tmp_path: Path):
    evaluation_data = next_purchases(folder)
    scores = ComponentScores(folder, evaluation_data, 30, tmp_path)
    assert_equal_to_whole_folder(scores.results, folder, evaluation_data)
    assert ComponentScores(folder, None, 30, tmp_path).results.metric_values is None
