"""What a student of habits is told: facts, earlier moments, and its file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vetrina.bundle.onnx_session import open_session
from vetrina.core.clock import DAY
from vetrina.core.errors import UnusableVariant
from vetrina.core.protocols import History
from vetrina.core.training_data import Interactions
from vetrina.edge import repeat_consumption_distillation, student_onnx_export
from vetrina.edge.repeat_consumption_distillation import (
    HistoryPoint,
    history_at,
    repeat_consumption_features,
    sample_history_points,
)
from vetrina.edge.repeat_student import RepeatRequests, RepeatStudent
from vetrina.features import histories
from vetrina.features.histories import Histories

USERS = ("a", "b", "c")


def log(events: list[tuple[int, int, float]], until: float) -> Interactions:
    """Of (user, item, time)."""
    earlier = sorted((e for e in events if e[2] < until), key=lambda e: e[2])
    user, item, time = (np.array([e[at] for e in earlier]) for at in range(3))
    return Interactions(
        np.array(USERS), user.astype(np.int32), item.astype(np.int32), time, np.ones(len(earlier), np.float32), until
    )


def opened(events: list[tuple[int, int, float]], until: float, folder: Path) -> Histories:
    histories.write(log(events, until), folder)
    return Histories(folder)


def test_facts_say_how_often_how_lately_and_in_which_order():
    now = 40 * DAY
    items = np.array([5, 2, 5, 9], np.int32)
    times = np.array([10.0, 20.0, 30.0, 39.0]) * DAY
    history = History(items, times, np.array([2, 4, 5, 9], np.int32), np.array([1.0, 0.5, 2.0, 1.0]), now)
    facts, rows = repeat_consumption_features(history)
    assert facts.tolist() == [2, 4, 5, 9]
    two, four, five, nine = rows
    assert five[:5].tolist() == pytest.approx(
        [1.0, (2 ** (-10 / 14) + 2 ** (-30 / 14)) * 2 ** (1 / 14), 0.0, np.log(2), np.log(3)]
    )
    assert four[[0, 4, 7, 8]].tolist() == pytest.approx([0.25, 0.0, 1.0, -1.0]), (
        "taken before the events that are known"
    )
    assert nine[[1, 3, 5]].tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert nine[6] == pytest.approx(np.log1p(24))
    assert five[8] == pytest.approx(0.5), "ten days since, twenty between"
    assert two[-5:].tolist() == pytest.approx([np.log1p(4), np.log1p(24), np.log1p(30 * 24), np.log1p(4), 0.75])
    assert repeat_consumption_features(History(items[:0], times[:0], items[:0], times[:0], now))[1].shape == (
        0,
        rows.shape[1],
    )


EVENTS = st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 10_000))


@given(
    st.lists(
        EVENTS,
        min_size=1,
        max_size=40,
        unique_by=lambda e: e[2],
    ),
    st.integers(0, 10),
)
def test_what_is_undone_never_was(tmp_path_factory, events, back):
    """A history some events ago is that of a log which ends there."""
    folder = tmp_path_factory.mktemp("known")
    timed = [(user, item, hours * 3_600.0) for user, item, hours in events]
    histories = opened(timed, 10_001 * 3_600.0, folder / "all")
    own = sorted(time for user, _, time in timed if user == 0)
    back = min(back, max(0, len(own) - 1))
    if not own:
        return
    now = own[len(own) - 1 - back] + 1.0
    then = opened(timed, now, folder / "then").history_of("a", (), now)
    history = history_at(histories, HistoryPoint("a", back, 0, now))
    assert history.items.tolist() == then.items.tolist()
    assert history.counts_items.tolist() == then.counts_items.tolist()
    np.testing.assert_allclose(history.counts, then.counts, rtol=1e-3, atol=1e-5)
    last = history_at(histories, HistoryPoint("a", back, 2, now))
    assert last.items.tolist() == then.items[-2:].tolist()
    assert last.counts.sum() <= 2.0


def test_moments_are_all_users_as_they_are_and_earlier_ones(tmp_path):
    rng = np.random.default_rng(3)
    events = [(u, int(rng.integers(9)), float(t) * 3_600) for u in (0, 1) for t in rng.permutation(500)[:50]]
    histories = opened(events, 501 * 3_600.0, tmp_path)
    points = sample_history_points(histories, list(USERS), 1_000, 1)
    assert [(m.user, m.events_undone, m.events_kept) for m in points[:3]] == [(u, 0, 0) for u in USERS], (
        "c has taken nothing"
    )
    assert 3 + 20 < len(points) <= 20 * len(USERS)
    earlier = points[3:]
    assert {m.user for m in earlier} == {"a", "b"}
    assert max(m.events_undone for m in earlier) < 0.6 * 50 + 1
    assert 0 < sum(m.events_kept > 0 for m in earlier) < len(earlier) / 2
    for moment in earlier:
        history = history_at(histories, moment)
        assert history.now >= history.times.max()
        assert len(history.items) == (moment.events_kept or 50 - moment.events_undone)


def student(products: int, width: int) -> tuple[RepeatStudent, RepeatRequests]:
    rng = np.random.default_rng(5)
    items = np.stack([rng.permutation(products)[:12] for _ in range(20)]).astype(np.int64)
    items[3, 4:] = -1
    requests = RepeatRequests(items, rng.normal(3, 2, (20, 12, 7)).astype(np.float16))
    torch.manual_seed(1)
    network = RepeatStudent(rng.integers(1, 90, products).astype(np.float32), requests, width)
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return network.eval(), requests


def test_its_file_says_what_it_says_in_every_width_of_numbers(tmp_path):
    network, requests = student(300, 32)
    scores_by_width: dict[int, np.ndarray] = {}
    for bits in (32, 8, 4):
        student_onnx_export.write(network, tmp_path / f"{bits}.onnx", bits)
        file = open_session(tmp_path / f"{bits}.onnx")
        rows = (requests.batch(np.array([row])) for row in range(len(requests)))
        scores_by_width[bits] = np.concatenate(
            [file.run(None, dict(zip(network.INPUTS, row, strict=True)))[0] for row in rows]
        )
    with torch.no_grad():
        wanted = network(*map(torch.from_numpy, requests.inputs)).numpy()
    np.testing.assert_allclose(scores_by_width[32], wanted, rtol=1e-3, atol=1e-3)
    assert np.corrcoef(scores_by_width[32].ravel(), scores_by_width[8].ravel())[0, 1] > 0.999
    assert np.corrcoef(scores_by_width[32].ravel(), scores_by_width[4].ravel())[0, 1] > 0.98
    sizes = [(tmp_path / f"{bits}.onnx").stat().st_size for bits in (4, 8, 32)]
    assert sizes == sorted(sizes)
    network.repeat_embedding.weight.data[3] = float("nan")
    with pytest.raises(UnusableVariant, match="not finite"):
        student_onnx_export.write(network, tmp_path / "x.onnx", 8)


def test_what_was_taken_lifts_itself_alone_and_what_is_missing_says_nothing():
    network, requests = student(300, 16)
    items, facts_ = (torch.from_numpy(part[3:4]) for part in requests.inputs)
    with torch.no_grad():
        whole = network(items, facts_)
        cut = network(items[:, :4], facts_[:, :4])
        plain, at, by = network.logits_and_boosts(items[:, :4], facts_[:, :4])
    np.testing.assert_allclose(whole, cut, rtol=1e-4, atol=1e-4)
    changed = (cut - plain)[0]
    assert sorted(torch.nonzero(changed)[:, 0].tolist()) == sorted(at[0].tolist()) == sorted(items[0, :4].tolist())
    np.testing.assert_allclose(changed[at[0]], by[0], rtol=1e-4, atol=1e-4)


def test_of_many_products_those_taken_most_are_told():
    place = np.array([3, -1, 0, 1, 2])
    rows = np.zeros((5, 18), np.float32)
    rows[:, 0] = [0.9, 1.0, 0.1, 0.2, 0.3]
    rows[:, 1] = [0.0, 1.0, 0.9, 0.0, 0.0]
    inputs = repeat_consumption_distillation.student_inputs([(np.arange(5, dtype=np.int32), rows)], place, 2)
    assert inputs.items.tolist() == [[3, 0]]
    assert inputs.features[0, :, 0].tolist() == pytest.approx([0.9, 0.1], rel=1e-3)
