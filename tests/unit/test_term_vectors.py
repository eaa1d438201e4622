"""Which of a query's words a product holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.bundle.term_vectors.read import MATCH_FEATURES, TermVectors
from vetrina.bundle.term_vectors.write import write_term_vectors

TITLES = ("Red running shoe", "Shoe rack, red", "Laptop", "Laptop stand for a laptop", "红色连衣裙", "")
TEXTS = ("light shoes for runners", "wood", "15 inch", "steel", "夏季", "")


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> TermVectors:
    """Six products."""
    folder = tmp_path_factory.mktemp("bundle") / "words"
    write_term_vectors(TITLES, [f"{a} {b}" for a, b in zip(TITLES, TEXTS, strict=True)], folder)
    return TermVectors(folder)


def column(words: TermVectors, query: str, name: str) -> list[float]:
    """Of all products."""
    return words.match_features(query, np.arange(len(TITLES), dtype=np.int32))[:, MATCH_FEATURES.index(name)].tolist()


def test_all_words_found_is_one_and_rare_words_weigh_more(words):
    held = column(words, "red running shoes", "words")
    assert held[0] == pytest.approx(1.0)
    assert held[2] == held[5] == 0.0
    assert column(words, "wood shoe", "words")[1] == pytest.approx(1.0)
    rare = column(words, "steel laptop", "words")[3]
    common = column(words, "steel laptop", "words")[2]
    assert rare == pytest.approx(1.0)
    assert 0 < common < 0.5


def test_the_title_is_told_from_the_rest_and_the_place_in_it(words):
    assert column(words, "wood", "title_words")[1] == 0.0
    assert column(words, "shoe", "first_place")[:3] == [2, 0, 99]
    assert column(words, "laptop", "title_length")[3] == 5


def test_a_phrase_is_found_only_as_it_stands(words):
    assert column(words, "running shoe", "in_a_row") == [1, 0, 0, 0, 0, 0]
    assert column(words, "shoe running", "in_a_row") == [0, 0, 0, 0, 0, 0]
    assert column(words, "连衣裙", "words")[4] == pytest.approx(1.0)


def test_nothing_asked_and_unknown_words_find_nothing(words):
    assert not words.match_features("?!", np.arange(6, dtype=np.int32))[:, :3].any()
    assert not words.match_features("zebra " * 3_000, np.arange(6, dtype=np.int32))[:, :3].any()
    assert words.match_features("red", np.empty(0, np.int32)).shape == (0, len(MATCH_FEATURES))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=6), st.text(max_size=40))
def test_whatever_the_texts_are_shares_are_shares(tmp_path_factory, titles, query):
    folder = tmp_path_factory.mktemp("any") / "words"
    write_term_vectors(titles, titles, folder)
    found = TermVectors(folder).match_features(query, np.arange(len(titles), dtype=np.int32))
    assert np.isfinite(found).all()
    assert (found[:, :3] >= 0).all()
    assert (found[:, :3] <= 1 + 1e-5).all()
