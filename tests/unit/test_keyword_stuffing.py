"""Stuffed titles are told from honest ones, and read without what they are stuffed with."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from vetrina.core.training_data import Catalogue
from vetrina.features import keyword_stuffing
from vetrina.simulate.attacks import stuff_keywords
from vetrina.validate.checks import CheckInput, keyword_stuffed_titles

KINDS = ("lamp", "chair", "shoe", "bottle")
COLOURS = ("red", "blue", "green")
FIRST = ("cheap", "smart", "garden", "kids", "office", "used", "small", "outdoor")
QUERIES = [f"{a} {b}" for a in FIRST for b in ("tv", "phone", "bike", "tent", "watch", "camera", "desk", "drone")]


def catalogue(items: int = 300) -> Catalogue:
    """Titles say colour, kind and a series that the description does not; descriptions are a dozen words."""
    rng = np.random.default_rng(1)
    number = np.full(items, np.nan)
    none = ("",) * items
    kinds = [KINDS[n % 4] for n in range(items)]
    colours = [COLOURS[n % 3] for n in range(items)]
    return Catalogue(
        np.array([f"p{n:03d}" for n in range(items)]),
        tuple(f"{c} {k} series {rng.integers(100)}" for c, k in zip(colours, kinds, strict=True)),
        tuple(
            f"a {k} in {c} made of fine stuff for people who like {k} at home"
            for c, k in zip(colours, kinds, strict=True)
        ),
        none, none, none, number, number, number,
    )  # fmt: skip


def test_only_stuffed_titles_are_doubted_and_they_keep_their_own_words():
    clean = catalogue()
    assert keyword_stuffing.clean_titles(clean) is clean.titles
    chosen = [3, 77, 150]
    rng = np.random.default_rng(2)
    new = list(clean.titles)
    for at, title in zip(chosen, stuff_keywords([new[at] for at in chosen], QUERIES, rng), strict=True):
        new[at] = title
    dirty = replace(clean, titles=tuple(new))
    assert (
        np.flatnonzero(keyword_stuffing.is_keyword_stuffed(dirty.titles, keyword_stuffing.other_texts(dirty))).tolist()
        == chosen
    )
    read = keyword_stuffing.clean_titles(dirty)
    assert [read[at].split()[:2] for at in chosen] == [clean.titles[at].split()[:2] for at in chosen]
    assert not {"phone", "cheap"} & {w for title in read for w in title.split()}
    assert all(read[n] == clean.titles[n] for n in range(len(clean)) if n not in chosen)


@pytest.mark.parametrize("text", ["", "short text only"])
def test_where_nothing_else_is_said_nothing_can_be_told(text):
    bare = replace(catalogue(), descriptions=(text,) * 300, titles=(" ".join(QUERIES),) * 300)
    assert keyword_stuffing.clean_titles(bare) is bare.titles


def test_a_shop_whose_titles_always_say_more_is_left_alone():
    long = " ".join(f"word{n}" for n in range(14))
    clean = catalogue()
    wordy = replace(clean, titles=tuple(f"{title} {long}" for title in clean.titles))
    assert keyword_stuffing.clean_titles(wordy) is wordy.titles


def test_the_check_names_the_first():
    clean = catalogue()
    new = [*clean.titles[:9], f"{clean.titles[9]} {' '.join(QUERIES)}", *clean.titles[10:]]
    frame = pl.DataFrame({"product_id": clean.product_ids.tolist(), "title": new, "description": clean.descriptions})
    check = keyword_stuffed_titles.run(CheckInput({"products": frame}, "", 0))
    assert (check.status, check.count, check.first) == ("WARN", 1, "p009")
    assert keyword_stuffed_titles.run(CheckInput({"products": frame.drop("description")}, "", 0)).status == "PASS"
