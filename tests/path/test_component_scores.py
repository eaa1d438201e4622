"""Component scores of recommend beside the evaluation of whole folders, in a shop whose products are all candidates."""

import shutil
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
import pytest

from vetrina.bundle.tree_ensemble.write import write_tree_ensemble
from vetrina.core.types import EvaluationData, Targets
from vetrina.scenarios.component_scores import SampledResults
from vetrina.scenarios.recommend import evaluate
from vetrina.scenarios.recommend.component_scores import ComponentScores
from vetrina.scenarios.recommend.features import feature_names
from vetrina.scenarios.recommend.online import Recommender

WEIGHTS = {"popular": 0.1, "item_knn": 0.5, "ease": 0.4}
MAX_REQUESTS = 30
MAX_UNLABELLED = 3  # of so many requests


@pytest.fixture
def folder(pristine, tmp_path: Path) -> Path:
    """A shop's float models, where trees re-rank the blend of known users."""
    folder = shutil.copytree(pristine[0] / "work" / "recommend" / "judged", tmp_path / "float")
    content = msgspec.json.decode((folder / "scenario.json").read_bytes())
    content["weights"] = {"home": WEIGHTS, "discover": {"item_knn": 1.0}, "session": {"ease": 1.0}}
    content["options"]["ranked"] = {"home": list(WEIGHTS)}
    (folder / "scenario.json").write_bytes(msgspec.json.encode(content))
    rng = np.random.default_rng(1)
    features = rng.uniform(0.0, 1.0, (200, len(feature_names(tuple(WEIGHTS)))))
    scores_sum = features[:, : len(WEIGHTS)].sum(axis=1)
    trees = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(features, scores_sum), 5)
    (folder / "trees").mkdir()
    write_tree_ensemble(trees, folder / "trees" / "home.onnx")
    return folder


def next_purchases(folder: Path) -> EvaluationData:
    """Sampled users and a new one take three products each."""
    recommender = Recommender(folder)
    users = (*recommender.histories.sample_users(20), "somebody new")
    rng = np.random.default_rng(0)
    items = tuple(rng.choice(len(recommender.catalogue), 3, replace=False).astype(np.int32) for _ in users)
    return EvaluationData(targets=Targets(users, items), now=recommender.histories.until)


def assert_like_whole_folder(results: SampledResults, folder: Path, evaluation_data: EvaluationData) -> None:
    exact = evaluate.evaluate(folder, evaluation_data)
    assert results.metric_values is not None
    assert results.metric_values.unit_ids == exact.unit_ids
    np.testing.assert_array_equal(results.metric_values.values, exact.values)
    requests = evaluate.sample_requests(folder, MAX_REQUESTS)
    assert results.answers == evaluate.answer_requests(folder, requests)
    unlabelled_requests = evaluate.sample_unlabelled_requests(folder, MAX_UNLABELLED)
    assert results.unlabelled_answers == evaluate.answer_requests(folder, unlabelled_requests)


def test_metric_and_answers_are_those_of_the_whole_folder_before_and_after_an_exchange(folder, pristine, tmp_path):
    evaluation_data = next_purchases(folder)
    scores = ComponentScores(folder, WEIGHTS, evaluation_data, MAX_REQUESTS, tmp_path)
    before = scores.results
    assert_like_whole_folder(before, folder, evaluation_data)

    served = pristine[0] / "work" / "recommend" / "served"
    changed = shutil.copytree(folder, tmp_path / "changed")
    for model in ("item_knn", "ease"):
        results = scores.exchange(model, served / model)
        shutil.rmtree(changed / model)
        shutil.copytree(served / model, changed / model)
        assert_like_whole_folder(results, changed, evaluation_data)
        assert scores.results is not results
        scores.accept()
        assert_like_whole_folder(scores.results, changed, evaluation_data)
        assert_like_whole_folder(scores.exact_results(changed), changed, evaluation_data)
    assert scores.results.answers != before.answers


def test_an_exchange_that_is_not_accepted_changes_nothing(folder, pristine, tmp_path):
    scores = ComponentScores(folder, WEIGHTS, None, MAX_REQUESTS, tmp_path)
    before = scores.results
    assert before.metric_values is None
    exchanged = scores.exchange("item_knn", pristine[0] / "work" / "recommend" / "served" / "item_knn")
    assert exchanged.answers != before.answers
    assert scores.results.answers == before.answers
    assert scores.exchange("item_knn", folder / "item_knn").answers == before.answers


def test_a_trial_costs_the_share_of_one_model_in_the_answers_that_depend_on_it(folder, tmp_path):
    scores = ComponentScores(folder, WEIGHTS, None, MAX_REQUESTS, tmp_path)
    assert scores.trial_cost("gru") == 0
    assert 0 < scores.trial_cost("ease") < scores.trial_cost("popular")


def test_requests_that_depend_on_no_model_that_may_be_exchanged_are_not_answered(folder, tmp_path):
    scores = ComponentScores(folder, ["ease"], None, MAX_REQUESTS, tmp_path)
    every_model = ComponentScores(folder, WEIGHTS, None, MAX_REQUESTS, tmp_path)
    assert scores.results.answers == every_model.results.answers
    unlabelled_requests = evaluate.sample_unlabelled_requests(folder, MAX_UNLABELLED)
    placements = [request[3] for request in unlabelled_requests]
    for number, placement in enumerate(placements):
        answer = scores.results.unlabelled_answers[number]
        is_same = answer == every_model.results.unlabelled_answers[number]
        assert is_same == (placement == "product"), "the other blend has item_knn alone"
