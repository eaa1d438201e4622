"""Grades from what shoppers did: the truth is known, the log is made by shoppers who look at the first places most."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from vetrina.data.click_model import MAX_GRADE, grades_from_clicks

WANTED = np.array([0.6, 0.3, 0.15, 0.05])  # chance of a click where a product is looked at
LOOKED = 1.0 / np.arange(1, 11)


def log(answers: int, impressions: bool = True, seed: int = 3) -> pl.DataFrame:
    """A poor product nearly always stands first and the best one at the end; now and then the order is by chance."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(answers):
        order = rng.permutation(10) if rng.random() < 0.2 else np.array([2, 3, 4, 5, 6, 7, 8, 9, 1, 0])
        for place, product in enumerate(order.tolist(), start=1):
            wanted = WANTED[product] if product < len(WANTED) else 0.02
            rows.append(("impression", f"p{product}", place))
            if rng.random() < LOOKED[place - 1] * wanted:
                rows.append(("click", f"p{product}", place))
    logged_rows = rows if impressions else [r for r in rows if r[0] == "click"]
    frame = pl.DataFrame(logged_rows, schema=["type", "product_id", "position"], orient="row")
    return frame.with_columns(pl.lit("Red Shoe ").alias("query"), pl.lit(datetime(2026, 1, 1)).alias("timestamp"))


def of(frame: pl.DataFrame | None) -> dict[str, float]:
    """Grades by product."""
    assert frame is not None
    assert frame["query"].unique().to_list() == ["red shoe"]
    return dict(zip(frame["product_id"].to_list(), frame["grade"].to_list(), strict=True))


def test_the_place_is_taken_out_of_the_clicks():
    events = log(4_000)
    counts = events.filter(pl.col("type") == "click")["product_id"].value_counts(sort=True)
    assert counts["product_id"][0] != "p0", "by mere clicks the best product is not the best"
    grades = of(grades_from_clicks(events))
    assert grades["p0"] == MAX_GRADE
    assert sorted(grades, key=grades.__getitem__, reverse=True)[:4] == ["p0", "p1", "p2", "p3"]
    for product, wanted in zip(("p1", "p2", "p3"), WANTED[1:], strict=True):
        assert grades[product] / MAX_GRADE == pytest.approx(wanted / WANTED[0], abs=0.12)


def test_without_impressions_a_deed_at_a_low_place_counts_more():
    deeds = pl.DataFrame(
        {
            "query": ["tea"] * 4,
            "product_id": ["first", "first", "tenth", "tenth"],
            "type": ["click"] * 4,
            "position": [1, 1, 10, 10],
        }
    )
    grades = grades_from_clicks(deeds)
    assert grades is not None
    by = dict(zip(grades["product_id"], grades["grade"], strict=True))
    assert by["tenth"] == MAX_GRADE
    assert by["first"] == pytest.approx(MAX_GRADE / np.log2(11))


def test_a_purchase_says_more_than_a_click_and_needs_no_place():
    deeds = pl.DataFrame({"query": ["tea", "tea"], "product_id": ["a", "b"], "type": ["click", "purchase"]})
    assert dict(grades_from_clicks(deeds).select("product_id", "grade").iter_rows()) == {
        "a": MAX_GRADE / 3,
        "b": MAX_GRADE,
    }


def test_a_lucky_first_look_does_not_beat_what_proved_itself():
    rows = [("impression", "new", 1), ("click", "new", 1)]
    rows += [("impression", "known", 1)] * 100 + [("click", "known", 1)] * 60
    events = pl.DataFrame(rows, schema=["type", "product_id", "position"], orient="row")
    grades = dict(
        grades_from_clicks(events.with_columns(pl.lit("tea").alias("query"))).select("product_id", "grade").iter_rows()
    )
    assert grades["known"] == MAX_GRADE
    assert grades["new"] < MAX_GRADE / 2


def test_nothing_done_is_nothing_known():
    only = pl.DataFrame({"query": ["tea"], "product_id": ["a"], "type": ["impression"], "position": [1]})
    assert grades_from_clicks(only) is None
