"""A training that begins where the last one of its form ended."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from vetrina.core.progress import NoProgress
from vetrina.core.training_data import WARM_START_FILE, Catalogue, Interactions, TrainingData
from vetrina.core.training_plan import TrainingPlan, TrainNotes
from vetrina.nn.next_item import warm_start
from vetrina.nn.next_item.item_embeddings import ItemEmbeddings
from vetrina.train import model_cache as cache
from vetrina.train.model_cache import evict, fit_cached

PLAN = TrainingPlan(threads=1, settings={"gru": {"epochs": 4}}, warm=True)


ITEMS = 20
USERS = 30
EVENTS = 900


def before(share: float) -> TrainingData:
    """The first ``share`` of 900 events: each user goes from product to product in one of two circles."""
    number = np.arange(int(share * EVENTS))
    user = (number % USERS).astype(np.int32)
    item = ((number // USERS * 2 + user % 2) % ITEMS).astype(np.int32)
    names = np.array([f"p{i:02d}" for i in range(ITEMS)])
    nothing = np.full(ITEMS, np.nan)
    text = tuple(f"title {i}" for i in range(ITEMS))
    catalogue = Catalogue(names, text, text, text, text, text, nothing, nothing, nothing)
    users = np.array([f"u{u:02d}" for u in range(USERS)])
    events = Interactions(users, user, item, number.astype(float), np.ones(len(number), np.float32), float(len(number)))
    return TrainingData(catalogue, events)


def fit(root: Path, data: TrainingData, form: str, plan: TrainingPlan = PLAN) -> TrainNotes:
    """One run's notes of the model."""
    assert data.interactions is not None
    into = root / form
    into.mkdir(exist_ok=True)
    digest = f"snapshot until {data.interactions.until}"
    report = fit_cached("gru", data, digest, form, plan, into, NoProgress())
    assert not (into / "gru" / WARM_START_FILE).exists(), "a memory is for the next training, never for a bundle"
    for file in (into / "gru").iterdir():
        file.unlink()
    (into / "gru").rmdir()
    return report


def test_it_begins_from_the_newest_shorter_past_that_sees_no_more_and_says_so(tmp_path):
    assert "began_from" not in fit(tmp_path, before(0.5), "fit").report
    judged = fit(tmp_path, before(0.6), "judged")
    served = fit(tmp_path, before(0.7), "served")
    second = fit(tmp_path, before(0.8), "fit")
    assert second.report["began_from"] == judged.report["began_from"], (
        "the first fit: what the others saw may be held out here"
    )
    assert served.report["began_from"] != judged.report["began_from"], (
        "the judged one, which may be continued on all data"
    )
    third = fit(tmp_path, before(0.9), "fit")
    assert second.report["began_from"] != third.report["began_from"]
    assert second.hyperparameters["epochs"] == third.hyperparameters["epochs"] == 4, (
        "the plan is that of a training from nothing"
    )
    assert fit(tmp_path, before(0.9), "fit") == third, "done once, it is found again"


def test_files_for_bundles_of_another_format_are_not_taken_again(tmp_path, monkeypatch):
    fit(tmp_path, before(0.5), "fit")
    monkeypatch.setattr(cache, "BUNDLE_FORMAT", cache.BUNDLE_FORMAT + 1)
    fit(tmp_path, before(0.5), "fit")
    assert len(list((tmp_path / "models").iterdir())) == 2


def test_a_longer_past_and_a_cold_plan_begin_from_nothing(tmp_path):
    fit(tmp_path, before(0.9), "fit")
    assert "began_from" not in fit(tmp_path, before(0.5), "fit").report
    assert "began_from" not in fit(tmp_path, before(1.0), "fit", replace(PLAN, warm=False)).report


def table(start: np.ndarray, tokens: int) -> ItemEmbeddings:
    """Every product has the first property."""
    properties = np.zeros((len(start), tokens), np.float32)
    properties[:, 0] = 1
    return ItemEmbeddings(start, sparse.csr_array(properties))


@pytest.fixture
def learnt(tmp_path) -> tuple[Path, ItemEmbeddings, np.ndarray]:
    """Four products in a plane, and what a training made of them: turned by a quarter, twice as far out."""
    first = np.array([[1, 0], [0, 1], [1, 1], [-1, 0]], np.float32)
    old = table(first, 2)
    with torch.no_grad():
        old.item_embedding.weight[:4] = torch.tensor([[0.0, 2], [-2, 0], [-2, 2], [0, -2]])
    warm_start.save_state(
        tmp_path / WARM_START_FILE, old, torch.nn.Linear(2, 2), np.array(["a", "b", "d", "e"]), ["red", "tin"], 3
    )
    return tmp_path / WARM_START_FILE, old, first


def test_products_and_properties_are_known_by_name_and_a_new_one_is_laid_beside_them(learnt):
    path, old, first = learnt
    new = table(np.insert(first, 2, [0.5, 0.0], axis=0), 3)
    encoder = torch.nn.Linear(2, 2)
    assert (
        warm_start.restore_state(path, new, encoder, np.array(["a", "b", "c", "d", "e"]), ["blue", "red", "tin"]) == 3
    )
    own = new.item_embedding.weight.detach().numpy()
    np.testing.assert_array_equal(own[[0, 1, 3, 4]], old.item_embedding.weight.detach().numpy()[:4])
    np.testing.assert_allclose(own[2], [0.0, 1.0], atol=1e-5)
    np.testing.assert_array_equal(own[5], 0)  # padding stays nothing
    np.testing.assert_array_equal(
        new.token_embedding.weight.detach().numpy()[1:3], old.token_embedding.weight.detach().numpy()
    )


def test_another_shape_is_left_alone(learnt):
    path, _, first = learnt
    new = table(first, 2)
    untouched = new.item_embedding.weight.detach().numpy().copy()
    assert (
        warm_start.restore_state(path, new, torch.nn.Linear(2, 3), np.array(["a", "b", "d", "e"]), ["red", "tin"]) == 0
    )
    np.testing.assert_array_equal(new.item_embedding.weight.detach().numpy(), untouched)


def test_of_models_fitted_long_ago_the_newest_of_each_form_stay(tmp_path):
    plan = replace(PLAN, settings={"gru": {"epochs": 1}})
    for share in (0.5, 0.7, 0.9):
        for form in ("fit", "served"):
            fit(tmp_path, before(share), form, plan)
    models = tmp_path / "models"
    everything = {p.name for p in models.iterdir()}
    assert len(everything) == 6
    assert evict(models, 2) > 0
    left = {p.name for p in models.iterdir()}
    assert len(left) == 4
    assert evict(models, 2) == 0
    notes = fit(tmp_path, before(1.0), "served", plan)
    assert notes.report["began_from"] in left, "a warm start finds what is newest"
    assert fit(tmp_path, before(0.5), "fit", plan).hyperparameters, "what was removed is fitted anew"


def test_another_external_model_leaves_the_fits_of_the_other_models_in_the_cache(tmp_path):
    data = before(0.5)
    for file in ("foreign/a.onnx", "foreign/b.onnx"):
        plan = replace(PLAN, foreign=file)
        into = tmp_path / Path(file).stem
        into.mkdir()
        fit_cached("popular", data, "digest", "fit", plan, into, NoProgress())
    assert len(list((tmp_path / "models").iterdir())) == 1


def test_it_begins_from_an_older_one_where_that_is_asked_for(tmp_path):
    first = before(0.5)
    second = before(0.8)
    fit(tmp_path, first, "fit")
    newest = fit(tmp_path, second, "fit")
    assert first.interactions is not None
    plan = replace(PLAN, begin_before=first.interactions.until)
    assert fit(tmp_path, before(0.9), "fit", plan).report["began_from"] == newest.report["began_from"]
    assert fit(tmp_path, before(0.9), "fit").report["began_from"] != newest.report["began_from"]
    assert "began_from" not in fit(tmp_path, before(0.9), "fit", replace(PLAN, begin_before=1.0)).report
