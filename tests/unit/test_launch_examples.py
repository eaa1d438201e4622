"""What a launch is learnt from, on logs whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.api.channels import hash_email
from vetrina.core.clock import DAY
from vetrina.core.errors import BadInput
from vetrina.core.training_data import Catalogue, Interactions
from vetrina.data import launch_examples
from vetrina.features import affinities, category_levels
from vetrina.features.affinities import COLUMNS, USER_FEATURES
from vetrina.features.segments import rfm_segments, segment_members

NONE = np.full(3, np.nan)


def catalogue() -> Catalogue:
    """Two shoes of one brand and a hat without any."""
    text = ("", "", "")
    return Catalogue(
        np.array(["a", "b", "c"]), ("red shoe", "blue shoe", "hat"), text, ("wear > shoes", "wear > shoes", "wear"),
        ("Alder", "Alder", ""), text, np.array([10.0, 20.0, np.nan]), NONE, NONE,
    )  # fmt: skip


def log(rows: list[tuple[int, int, float]], users: int, until: float) -> Interactions:
    """(user, item, day) rows, each a purchase."""
    user, item, day = (np.array(column) for column in zip(*sorted(rows, key=lambda r: r[2]), strict=True))
    names = np.array([f"u{n}" for n in range(users)])
    weight = np.ones(len(rows), np.float32)
    return Interactions(names, user.astype(np.int32), item.astype(np.int32), day * DAY, weight, until * DAY)


def test_kinds_go_from_coarse_to_fine_and_know_new_products(tmp_path):
    codes = category_levels.write(catalogue(), tmp_path)
    opened = category_levels.CategoryLevels(tmp_path)
    assert (codes[0] == codes[1])[:-1].all()
    assert codes[2, category_levels.LEVELS.index("brand")] == -1
    fresh = opened.codes_of(category_levels.category_levels("green shoe", "wear > shoes", "Birch"))
    assert fresh[category_levels.LEVELS.index("leaf")] == codes[0, category_levels.LEVELS.index("leaf")]
    assert fresh[category_levels.LEVELS.index("brand")] == -1


def test_features_count_what_a_user_took(tmp_path):
    events = log([(0, 0, 0.0), (0, 0, 50.0), (1, 2, 60.0), (0, 1, 98.0)], users=2, until=100.0)
    first = affinities.first_seen(events, 3)
    assert first[0] == -np.inf  # there when the log began
    assert first[1] == 98.0 * DAY
    codes = category_levels.level_codes(catalogue())[0]
    affinity = affinities.build(events, codes, catalogue().prices, first, events.until)
    affinities.write(affinity, tmp_path)
    for one in (affinity, affinities.read(tmp_path)):
        row = dict(zip(COLUMNS, one.features_for_product(codes[1], 20.0).T, strict=True))
        assert row["leaf: count"].tolist() == [3.0, 0.0]
        assert row["department: count"].tolist() == [3.0, 1.0]
        assert row["leaf: products"].tolist() == [2.0, 0.0]
        assert row["title: count"].tolist() == [1.0, 0.0]
        assert row["brand: firsts"].tolist() == [1.0, 0.0]
        assert row["price"].tolist() == [20.0, 20.0]
        assert row["value"].tolist() == [40.0, 0.0]
        assert row["leaf: lift"][0] == pytest.approx(1.0 / 0.75, rel=1e-3)
    some = affinity.features_for_product(codes[1], 20.0, np.array([1], np.int32))
    assert some.tolist() == affinity.features_for_product(codes[1], 20.0)[1:].tolist()


def test_nothing_after_a_window_began_is_in_its_examples():
    rng = np.random.default_rng(1)
    drawn = np.stack([rng.integers(0, 30, 900), rng.integers(0, 60, 900), rng.uniform(0, 90, 900)], 1).tolist()
    rows = [(int(u), int(i), max(d, i * 1.4)) for u, i, d in drawn]  # product i is launched on day 1.4 i
    events = log(rows, users=30, until=90.0)
    codes = np.zeros((60, len(category_levels.LEVELS)), np.int32)
    codes[:, -1] = np.arange(60)
    examples = launch_examples.build_examples(events, codes, np.full(60, 5.0), np.eye(60, dtype=np.float32), seed=1)
    assert examples.is_buyer.sum() > 20
    # The title of a launched product is its own: nobody has taken it before the window.
    assert (examples.features[:, COLUMNS.index("title: count")] == 0).all()
    assert launch_examples.count_buyers(events, 60) >= examples.is_buyer.sum()


def test_segments_are_fifths():
    of_user = np.zeros((100, len(USER_FEATURES)), np.float32)
    of_user[:, USER_FEATURES.index("events")] = np.arange(100)
    of_user[:, USER_FEATURES.index("value")] = np.arange(100)
    of_user[:, USER_FEATURES.index("days since")] = 100 - np.arange(100)
    of_user[:, USER_FEATURES.index("days known")] = 365
    segments = rfm_segments(of_user)
    assert segments["best"].tolist() == (np.arange(100) >= 60).tolist()
    assert segments["lost"].tolist() == (np.arange(100) < 20).tolist()
    assert not segments["new"].any()
    with pytest.raises(BadInput, match="use one of"):
        segment_members(of_user, "rich")


@given(st.from_regex(r"[A-Za-z0-9]{1,8}@[a-z]{1,8}\.[a-z]{2,3}", fullmatch=True))
def test_addresses_hash_alike_however_they_are_written(address):
    assert hash_email(f"  {address.upper()} ") == hash_email(address.lower())
    assert len(hash_email(address)) == 64
