"""One vector of all that is known of a product, on shops where it is known what that should say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vetrina.api.shop import Shop
from vetrina.core.errors import BadInput
from vetrina.core.progress import NoProgress
from vetrina.core.protocols import History
from vetrina.core.types import Catalogue, Floats, Interactions, TrainingData, TrainingPlan
from vetrina.data import dataset
from vetrina.models.fusion import online, train
from vetrina.models.fusion.modalities import content_modalities, normalise_rows, whiten
from vetrina.ranking.reserved_positions import fill_reserved_positions

ITEMS = 60
USERS = 80
NEW = 6
COLOURS = ("red", "blue", "green")
KINDS = ("shoe", "lamp", "chair", "bottle")


def shop(by: str) -> TrainingData:
    """Users keep to a colour or to a kind (``by``); the last NEW products are taken by nobody."""
    rng = np.random.default_rng(1)
    colour = [COLOURS[n % 3] for n in range(ITEMS)]
    kind = [KINDS[n % 4] for n in range(ITEMS)]
    number = np.full(ITEMS, np.nan)
    none = ("",) * ITEMS
    tokens = tuple((f"colour: {c}",) for c in colour)
    catalogue = Catalogue(
        np.array([f"p{n:02d}" for n in range(ITEMS)]),
        tuple(kind),
        none,
        none,
        none,
        none,
        number,
        number,
        number,
        property_tokens=tokens,
    )
    groups = [
        [n for n in range(ITEMS - NEW) if (colour[n] if by == "colour" else kind[n]) == value]
        for value in (COLOURS if by == "colour" else KINDS)
    ]
    rows = [
        (user, int(rng.choice(groups[user % len(groups)])), 100.0 * step + user)
        for step in range(12)
        for user in range(USERS)
    ]
    user, item, time = (np.array(c) for c in zip(*rows, strict=True))
    users = np.array([f"u{n:02d}" for n in range(USERS)])
    events = Interactions(
        users, user.astype(np.int32), item.astype(np.int32), time, np.ones(len(rows), np.float32), 9_999.0
    )
    return TrainingData(catalogue, events)


def with_cache(past: TrainingData, root: Path) -> TrainingData:
    return replace(past, cache=root / "cache")


def fitted(past: TrainingData, into: Path) -> online.Fusion:
    into.mkdir(parents=True)
    train.fit(with_cache(past, into.parent), TrainingPlan(threads=1), into, NoProgress())
    return online.load(into)


def asked(*items: int) -> History:
    return History(
        np.array(items, np.int32), np.arange(len(items), dtype=np.float64), np.empty(0, np.int32), np.empty(0), 0.0
    )


@pytest.mark.parametrize("by", ["colour", "kind"])
def test_what_is_taken_together_says_which_modality_counts_and_new_products_follow(by, tmp_path):
    opened = fitted(shop(by), tmp_path / "fusion")
    weights = train.fit(
        with_cache(shop(by), tmp_path), TrainingPlan(threads=1), tmp_path / "fusion", NoProgress()
    ).report["weights"]
    other, own = ("words", "attributes") if by == "colour" else ("attributes", "words")
    assert weights[own] > 2 * weights[other]
    score = opened.score(asked(0))
    new = np.arange(ITEMS - NEW, ITEMS)
    size = len(COLOURS if by == "colour" else KINDS)
    alike = score[new[new % size == 0]]
    unlike = score[new[new % size != 0]]
    assert alike.min() > unlike.max()


@pytest.mark.parametrize("width", [1, 40, 128])
def test_vectors_in_4_bits_say_what_they_were_whose_columns_differ_in_size(tmp_path, width):
    rng = np.random.default_rng(4)
    sizes = np.r_[3.0, np.linspace(1.0, 0.2, width - 1)]  # as principal axes have them, the mean along the first
    vectors = (rng.normal(size=(300, width)) * sizes).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1).max()
    np.save(tmp_path / "vectors.npy", vectors)
    (tmp_path / "small").mkdir()
    train.write_vectors(vectors, tmp_path / "small")
    usual = online.load(tmp_path)
    small = online.load(tmp_path / "small")
    assert len(small) == 300
    assert small.score(asked(3, 7)) == pytest.approx(usual.score(asked(3, 7)), abs=0.05)
    some = np.array([5, 9, 5], np.int32)
    assert small.score_items(asked(3), some) == pytest.approx(small.score(asked(3))[some], abs=0.02)
    assert not small.score(asked()).any()


def test_without_behaviour_and_with_nothing_known_there_is_still_an_answer(tmp_path):
    past = shop("kind")
    opened = fitted(TrainingData(past.catalogue), tmp_path / "a" / "fusion")
    assert opened.score(asked(0))[4] > opened.score(asked(0))[1]
    assert past.catalogue is not None
    bare = replace(past.catalogue, titles=("",) * ITEMS, property_tokens=())
    assert not fitted(TrainingData(bare), tmp_path / "b" / "fusion").score(asked(0)).any()


def test_pictures_and_given_vectors_of_sounds_are_modalities_and_some_may_lack_them(tmp_path):
    past = shop("kind")
    rng = np.random.default_rng(2)
    assert past.catalogue is not None
    sounds = rng.normal(size=(ITEMS, 8)).astype(np.float32)
    sounds[ITEMS // 2 :] = 0.0
    images = []
    for number in range(ITEMS):
        file = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(file)
        images.append(str(file) if number % 2 else "")
    catalogue = replace(past.catalogue, embeddings=sounds, prices=np.arange(1.0, ITEMS + 1), images=tuple(images))
    parts = content_modalities(catalogue, TrainingPlan(threads=1), tmp_path / "cache", NoProgress())
    assert set(parts) == {"text", "words", "attributes", "price", "picture", "embedding"}
    assert not parts["embedding"][ITEMS // 2 :].any()
    assert not parts["picture"][::2].any()
    assert parts["picture"][1::2].any(axis=1).all()
    assert parts["price"][0] @ parts["price"][1] > parts["price"][0] @ parts["price"][-1] - 1e-6
    for block in parts.values():
        length = np.linalg.norm(block, axis=1)
        assert np.all((np.abs(length - 1) < 1e-3) | (length == 0))


def test_whitening_takes_away_what_all_share():
    rng = np.random.default_rng(3)
    vectors: Floats = normalise_rows((rng.normal(size=(500, 12)) + 8.0).astype(np.float32))
    vectors[-1] = 0.0
    found = whiten(vectors)
    assert not found[-1].any()
    assert float((vectors[:-1] @ vectors[:-1].T).mean()) > 0.9
    assert abs(float((found[:-1] @ found[:-1].T).mean())) < 0.05


def test_given_vectors_are_read_and_refused_by_name(tmp_path):
    lines = {
        "good": ['{"product_id": "a", "title": "x", "embedding": [0.5, 1]}', '{"product_id": "b", "title": "y"}'],
        "uneven": [
            '{"product_id": "a", "title": "x", "embedding": [0.5, 1]}',
            '{"product_id": "b", "title": "y", "embedding": [1]}',
        ],
    }
    (tmp_path / "words.csv").write_text('product_id,title,embedding\na,x,"loud"\n')
    for name, rows in lines.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    snapshot = Shop(tmp_path / "good").ingest(products=[tmp_path / "good.jsonl"])
    catalogue = dataset.catalogue(snapshot)
    assert catalogue is not None
    np.testing.assert_allclose(catalogue.embeddings, [[0.5, 1.0], [0.0, 0.0]])
    for name, why in (("uneven.jsonl", "has 1 numbers, others 2"), ("words.csv", "no list of numbers")):
        snapshot = Shop(tmp_path / name.split(".")[0]).ingest(products=[tmp_path / name])
        with pytest.raises(BadInput, match=why):
            dataset.catalogue(snapshot)


@given(
    usual=st.lists(st.integers(0, 30), unique=True, max_size=20),
    kept=st.lists(st.integers(0, 30), unique=True, max_size=10),
    share=st.floats(0.01, 0.5),
    wanted=st.integers(0, 25),
)
def test_kept_places_keep_both_orders_and_longer_lists_begin_with_shorter_ones(usual, kept, share, wanted):
    found = fill_reserved_positions(np.array(usual, np.intp), np.array(kept, np.intp), share, wanted).tolist()
    assert len(found) == len(set(found)) == min(wanted, len({*usual, *kept}))
    assert (
        found[:5]
        == fill_reserved_positions(np.array(usual, np.intp), np.array(kept, np.intp), share, min(5, wanted)).tolist()
    )
    only = [n for n in found if n not in kept]
    assert only == [n for n in usual if n not in kept][: len(only)]
    assert set(kept[: int(len(found) * share + 1e-9)]) <= set(found)
