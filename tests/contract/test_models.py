"""What every behaviour model keeps, whoever wrote it; models are found, not listed."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from opened_types import takes_history
from PIL import Image

from vetrina.core.compression import DistillationData
from vetrina.core.errors import BadInput
from vetrina.core.progress import NoProgress
from vetrina.core.protocols import History, Scorer
from vetrina.core.training_cost import Workload
from vetrina.core.training_data import Catalogue, Interactions, SocialGraph, TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.models.base import find_model, find_trainable_model, model_names
from vetrina.scenarios.ads.scenario import RECIPE as ads
from vetrina.scenarios.launch.scenario import RECIPE as launch
from vetrina.scenarios.predict.scenario import RECIPE as predict

# Those that answer something else than a history: rows of a table, which users want a product, which texts meet a query.
OTHERS = {*predict.models, "onnx", *ads.models, *launch.models, "bm25", "text"}
BEHAVIOUR = [name for name in model_names() if name not in OTHERS]
KNOWN = {
    "ease",
    "friends",
    "fusion",
    "graph_filter",
    "gru",
    "image",
    "item_knn",
    "lately",
    "lstm",
    "popular",
    "repeat",
    "sasrec",
    "sessions",
}
ITEMS = 30
USERS = 40
# One thread, so that equal data give equal bytes; as many epochs as so few positions need.
PLAN = TrainingPlan(threads=1, settings={name: {"epochs": 20, "stop": 20} for name in ("sasrec", "gru", "lstm")})


def past(items: int = ITEMS) -> TrainingData:
    """Even users take even items, odd users odd ones; the last three items are never taken."""
    rng = np.random.default_rng(5)
    rows = [
        (u, 2 * int(rng.integers((items - 4) // 2)) + u % 2, 1000.0 * t + u) for u in range(USERS) for t in range(30)
    ]
    rows.sort(key=lambda r: r[2])
    user, item, time = (np.array(c) for c in zip(*rows, strict=True))
    names = np.array([f"p{i:02d}" for i in range(items)])
    text = tuple(f"title {i}" for i in range(items))
    number = np.full(items, np.nan)
    category = tuple(f"c{i % 2}" for i in range(items))
    catalogue = Catalogue(names, text, text, category, text, text, number, number, number)
    events = Interactions(
        np.array([f"u{u:02d}" for u in range(USERS)]), user.astype(np.int32), item.astype(np.int32), time,
        np.ones(len(rows), np.float32), 40_000.0,
    )  # fmt: skip
    graph = _circles(events.users)
    return TrainingData(replace(catalogue, images=_pictures(items)), events, social_graph=graph, cache=_cache())


@cache
def _cache() -> Path:
    """The cache that all models share."""
    return Path(tempfile.mkdtemp())


@cache
def _pictures(items: int) -> tuple[str, ...]:
    """Stripes from left to right on even items, from top to bottom on odd ones, each in a tone of its own."""
    folder = Path(tempfile.mkdtemp())
    for item in range(items):
        pixels = np.full((48, 48, 3), 255, np.uint8)
        pixels[::6, :, :] = 5 * item
        picture = pixels if item % 2 == 0 else pixels.transpose(1, 0, 2)
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{item}.png")
    return tuple(str(folder / f"{item}.png") for item in range(items))


def _circles(users: np.ndarray) -> SocialGraph:
    """Everybody follows the three users of their own parity that come next."""
    pairs = sorted((u, (u + 2 * k) % USERS) for u in range(USERS) for k in (1, 2, 3))
    user, other = np.array(pairs, np.int32).T
    return SocialGraph(users, user, other)


def history(*items: int) -> History:
    """Just these, one after the other."""
    taken, counts = np.unique(np.array(items, np.int32), return_counts=True)
    times = np.arange(float(len(items)))
    return History(np.array(items, np.int32), times, taken, counts.astype(float), 40_000.0, "u00")


@pytest.fixture(scope="module", params=BEHAVIOUR)
def folder(request, tmp_path_factory) -> tuple[str, Path]:
    """Each model fitted once."""
    into = tmp_path_factory.mktemp(request.param)
    find_model(request.param).fit(past(), PLAN, into, NoProgress())
    return request.param, into


def opened(folder: tuple[str, Path]):
    """Its scorer."""
    return find_model(folder[0]).load(folder[1])


@pytest.mark.parametrize("name", model_names())
def test_what_a_model_declares_fits_together(name):
    model = find_model(name)
    assert model.name == name
    assert model.search_space.keys() <= model.hyperparameters.keys()
    for key, bounds in model.search_space.items():
        assert bounds.low <= model.hyperparameters[key] <= bounds.high
    everything = Workload(products=100, images=100, judged_queries=500, events=900, event_products=90, cells=1_000)
    assert bool(model.search_space) == (model.cost.trial_seconds(everything) is not None), "searched is what has a cost"
    rich = model.cost.plan_epochs(everything, 1e9, is_first=True)
    assert rich.hyperparameters.keys() <= model.hyperparameters.keys()
    assert bool(rich.hyperparameters) == (model.cost.share is not None)


def test_the_fault_injector_can_be_loaded_but_is_none_of_the_models():
    assert "drill" not in model_names()
    assert find_model("drill").is_trainable is False
    with pytest.raises(BadInput, match="known: "):
        find_trainable_model("drill")


def test_no_model_of_behaviour_is_left_out():
    assert set(BEHAVIOUR) >= KNOWN
    assert not [name for name in OTHERS if takes_history(name)]


def test_scores_the_whole_catalogue_with_finite_numbers(folder):
    assert isinstance(opened(folder), Scorer)
    for taken in ((), (0,), (0, 2, 4), tuple(range(20)) * 20):
        scores = opened(folder).score(history(*taken))
        assert scores.shape == (ITEMS,)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert (scores >= 0).all()


def test_the_same_history_gives_the_same_scores_and_is_left_alone(folder):
    requested = history(0, 2, 4)
    before = requested.items.copy(), requested.counts.copy()
    scorer = opened(folder)
    first = np.array(scorer.score(requested))
    np.testing.assert_array_equal(first, scorer.score(requested))
    np.testing.assert_array_equal(before[0], requested.items)
    np.testing.assert_array_equal(before[1], requested.counts)


def test_says_why_in_words(folder):
    assert len(find_model(folder[0]).reason.split()) > 2


def test_personal_models_stay_on_the_board_of_their_parity(folder):
    if folder[0] == "popular":
        pytest.skip("the same list for everyone")
    scores = opened(folder).score(history(0, 2, 4, 6, 8))
    assert scores[::2].sum() > 2 * scores[1::2].sum()


def test_fitting_twice_gives_the_same_files(folder, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    with_empty_cache = replace(past(), cache=tmp_path / "cache")
    find_model(folder[0]).fit(with_empty_cache, PLAN, again, NoProgress())
    other = find_model(folder[0]).load(again)
    requested = history(0, 2, 4)
    np.testing.assert_array_equal(opened(folder).score(requested), other.score(requested))


def test_the_compressed_form_ranks_alike_and_is_smaller(folder, tmp_path):
    model = find_model(folder[0])
    if not model.variants:
        pytest.skip("offers no smaller form")
    lesson = DistillationData(past, PLAN, NoProgress())
    assert len({form.name for form in model.variants}) == len(model.variants)
    for number, form in enumerate(model.variants):
        (tmp_path / str(number)).mkdir()
        model.compress(folder[1], tmp_path / str(number), form, lesson)
        small = find_model(folder[0]).load(tmp_path / str(number))
        a = opened(folder).score(history(0, 2, 4))
        b = small.score(history(0, 2, 4))
        # Many products score nearly alike: what the small form puts first must be worth nearly as much, not be the same.
        assert a[np.argsort(-b)[:8]].sum() > 0.85 * a[np.argsort(-a)[:8]].sum()
        if form is model.variants[0]:  # bolder ones may say less, as long as they order alike
            assert np.abs(a / a.max() - b / b.max()).max() < 0.1
