"""The deep interest network on rows where only the match of an offer with the last events tells."""

from dataclasses import replace

import numpy as np
import pytest

from vetrina.core.progress import Silent
from vetrina.core.tables import Rows
from vetrina.core.types import Past, Plan
from vetrina.metrics.classification import roc_auc
from vetrina.models.din import online, train

KINDS, EVENTS, NOTHING = 6, 5, -2


def offers(rows: int, seed: int) -> Rows:
    """Clicked by nine in ten who did something of the same kind lately, by one in ten of the others; numbers say nothing."""
    rng = np.random.default_rng(seed)
    asked = rng.integers(0, KINDS, (rows, 1)).astype(np.int32)
    before = rng.integers(0, KINDS, (rows, EVENTS, 1)).astype(np.int32)
    before[np.arange(EVENTS)[None] >= rng.integers(1, EVENTS + 1, rows)[:, None]] = NOTHING
    same = (before[:, :, 0] == asked).any(1)
    label = (rng.random(rows) < np.where(same, 0.9, 0.1)).astype(np.float32)
    return Rows(rng.normal(size=(rows, 2)).astype(np.float32), label=label, asked=asked, before=before)


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> online.Classifier:
    into = tmp_path_factory.mktemp("din")
    train.fit(Past(rows=offers(6_000, 1)), Plan(threads=1), into, Silent())
    return online.open(into)


def test_what_somebody_did_last_tells_which_offer_they_want(opened):
    rows = offers(2_000, 2)
    said = opened.expected(rows)
    assert roc_auc(rows.label, said) > 0.86  # the best possible is about .89
    without = opened.expected(replace(rows, before=np.full_like(rows.before, NOTHING)))
    assert abs(roc_auc(rows.label, without) - 0.5) < 0.05
    assert without.mean() < said.mean()


def test_the_order_of_what_is_not_there_says_nothing(opened):
    rows = offers(50, 3)
    assert rows.before is not None
    longer = np.concatenate([rows.before, np.full((50, 3, 1), NOTHING, np.int32)], axis=1)
    np.testing.assert_allclose(opened.expected(replace(rows, before=longer)), opened.expected(rows), atol=1e-6)


def test_rare_and_unknown_kinds_share_a_vector():
    rows = offers(100, 4)
    assert rows.asked is not None
    rows.asked[0] = 40  # once
    numbers = train.numbers_of(rows)
    assert numbers[0][40] == 0
    assert sorted(set(numbers[0][:KINDS].tolist())) == list(range(1, KINDS + 1))
    asked, before = online.numbered(replace(rows, asked=np.full_like(rows.asked, 999)), numbers)
    assert (asked == 0).all()
    assert ((before == -1) == (rows.before == NOTHING)).all()
