"""The deep interest network on rows where only the match of an offer with the last events tells."""

from dataclasses import replace

import numpy as np
import pytest

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.evaluation.classification import roc_auc
from vetrina.models.din import online, train

KINDS = 6
EVENTS = 5
NOTHING = -2


def offers(rows: int, seed: int) -> EncodedTable:
    """Clicked by nine in ten who did something of the same kind lately, by one in ten of the others; numbers say nothing."""
    rng = np.random.default_rng(seed)
    offered = rng.integers(0, KINDS, (rows, 1)).astype(np.int32)
    before = rng.integers(0, KINDS, (rows, EVENTS, 1)).astype(np.int32)
    before[np.arange(EVENTS)[None] >= rng.integers(1, EVENTS + 1, rows)[:, None]] = NOTHING
    same = (before[:, :, 0] == offered).any(1)
    label = (rng.random(rows) < np.where(same, 0.9, 0.1)).astype(np.float32)
    return EncodedTable(
        rng.normal(size=(rows, 2)).astype(np.float32), label=label, candidate_levels=offered, history_levels=before
    )


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> online.DIN:
    into = tmp_path_factory.mktemp("din")
    train.fit(TrainingData(encoded_table=offers(6_000, 1)), TrainingPlan(threads=1), into, NoProgress())
    return online.load(into)


def test_what_somebody_did_last_tells_which_offer_they_want(opened):
    rows = offers(2_000, 2)
    predictions = opened.predict(rows)
    assert roc_auc(rows.label, predictions) > 0.86  # the best possible is about .89
    without = opened.predict(replace(rows, history_levels=np.full_like(rows.history_levels, NOTHING)))
    assert abs(roc_auc(rows.label, without) - 0.5) < 0.05
    assert without.mean() < predictions.mean()


def test_the_order_of_what_is_not_there_says_nothing(opened):
    rows = offers(50, 3)
    assert rows.history_levels is not None
    longer = np.concatenate([rows.history_levels, np.full((50, 3, 1), NOTHING, np.int32)], axis=1)
    np.testing.assert_allclose(opened.predict(replace(rows, history_levels=longer)), opened.predict(rows), atol=1e-6)


def test_rare_and_unknown_kinds_share_a_vector():
    rows = offers(100, 4)
    assert rows.candidate_levels is not None
    rows.candidate_levels[0] = 40  # once
    numbers = train.build_vocabularies(rows)
    assert numbers[0][40] == 0
    assert sorted(set(numbers[0][:KINDS].tolist())) == list(range(1, KINDS + 1))
    offered_ids, before = online.embedding_ids(
        replace(rows, candidate_levels=np.full_like(rows.candidate_levels, 999)), numbers
    )
    assert (offered_ids == 0).all()
    assert ((before == -1) == (rows.history_levels == NOTHING)).all()
