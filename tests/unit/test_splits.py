"""A sample of the holdout for the gate of a quick version."""

import numpy as np

from vetrina.core.evaluation_data import EvaluationData, Targets
from vetrina.core.training_data import Judgments
from vetrina.data.splits import sample_holdout


def _targets(n_users: int) -> Targets:
    return Targets(
        tuple(f"u{number:03d}" for number in range(n_users)), tuple(np.array([number]) for number in range(n_users))
    )


def test_users_are_evenly_spread_and_keep_their_items():
    sampled, reason = sample_holdout(EvaluationData(targets=_targets(1_000)), 300)
    assert sampled.targets is not None
    assert len(sampled.targets.user_ids) == 300
    assert sampled.targets.user_ids[0] == "u000"
    assert sampled.targets.user_ids[-1] == "u999"
    assert all(int(user[1:]) == items[0] for user, items in zip(*_columns(sampled.targets), strict=True))
    assert reason is not None
    assert reason.passed
    assert "300 of 1,000" in reason.text


def test_whole_queries_are_sampled():
    queries = tuple(f"q{number // 3}" for number in range(30))
    judgments = Judgments(queries, np.arange(30, dtype=np.int32), np.ones(30, np.float32))
    sampled, _ = sample_holdout(EvaluationData(judgments=judgments), 4)
    assert sampled.judgments is not None
    assert {len(items) for items, _ in sampled.judgments.by_query().values()} == {3}
    assert len(sampled.judgments.by_query()) == 4


def test_a_small_holdout_is_left_whole():
    holdout = EvaluationData(targets=_targets(300))
    assert sample_holdout(holdout, 300) == (holdout, None)


def _columns(targets: Targets) -> tuple[tuple[str, ...], tuple[np.ndarray, ...]]:
    return targets.user_ids, targets.items
