"""Slips keep units apart and answers right."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.training_data import Judgments
from vetrina.gate.robustness import add_typo, perturb_data


@given(st.text(max_size=40), st.integers(0, 1_000))
def test_a_slip_changes_one_word_at_most(query, seed):
    rough = add_typo(query, np.random.default_rng(seed))
    before = query.split()
    after = rough.split()
    assert len(before) == len(after) or rough == query
    assert sum(a != b for a, b in zip(before, after, strict=False)) <= 1


def test_queries_stay_apart_and_keep_their_grades():
    queries = ("coffee", "coffee", "toffee", "tea")
    judgments = Judgments(queries, np.arange(4, dtype=np.int32), np.ones(4, np.float32))
    (rough,) = perturb_data(EvaluationData(judgments=judgments))
    changed = rough.evaluation_data.judgments
    assert changed is not None
    assert len(set(changed.query)) == 3
    assert changed.query[0] == changed.query[1] != "coffee"
    assert changed.query[3] == "tea", "short words stay"
    assert (changed.item == judgments.item).all()


def test_a_tenth_of_the_cells_go_missing():
    table = LabelledTable({"a": np.ones(5_000), "b": np.array(["x"] * 5_000, object)}, np.ones(5_000, np.float32))
    (rough,) = perturb_data(EvaluationData(table=table))
    holed = rough.evaluation_data.table
    assert holed is not None
    assert abs(np.isnan(holed.columns["a"].astype(float)).mean() - 0.1) < 0.02
    assert abs(np.mean([v is None for v in holed.columns["b"]]) - 0.1) < 0.02
