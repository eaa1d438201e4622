"""Slips of the finger are mended where the catalogue says to what, and nothing else is touched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.bundle.spelling.read import SpellingCorrector
from vetrina.bundle.spelling.write import write_word_counts
from vetrina.core.types import Catalogue
from vetrina.gate.robustness import add_typo

TITLES = (
    "Wireless headphones",
    "Headphones for sport",
    "Espresso machine",
    "Washing machine",
    "Espresso cups",
    "Washing line",
)


def opened(folder, known=lambda word: False) -> SpellingCorrector:
    none = ("",) * len(TITLES)
    number = np.full(len(TITLES), np.nan)
    names = np.array([f"p{n}" for n in range(len(TITLES))])
    write_word_counts(
        Catalogue(names, TITLES, none, none, none, none, number, number, number), folder / "spelling.json"
    )
    return SpellingCorrector(folder / "spelling.json", known)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("haedphones", "headphones"),
        ("headphnes", "headphones"),
        ("headphoness sport", "headphones sport"),
        ("Expresso machine", "espresso machine"),
        ("wasching line", "washing line"),
        ("wireles", "wireles"),  # one product alone may itself be misspelt
        ("qeadphones", "qeadphones"),  # nobody misses the first letter
        ("xyz 4k", "xyz 4k"),
        ("headphones", "headphones"),
        ("", ""),
    ],
)
def test_what_was_meant(said, meant, tmp_path):
    assert opened(tmp_path).correct(said).lower() == meant.lower()


def test_a_word_of_the_language_is_no_slip(tmp_path):
    assert opened(tmp_path, known=lambda word: word == "cubs").correct("espresso cubs") == "espresso cubs"


@given(st.integers(0, 10_000), st.sampled_from(["headphones", "espresso", "washing", "machine"]))
def test_every_slip_inside_a_common_word_is_mended(seed, word):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as scratch:
        assert opened(Path(scratch)).correct(add_typo(word, np.random.default_rng(seed))) == word
