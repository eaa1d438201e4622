"""What a request costs, and what changes while it is answered."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from instruction_count import instructions

from vetrina.bundle.spelling.read import SpellingCorrector
from vetrina.bundle.spelling.write import write_word_counts
from vetrina.core.types import Catalogue
from vetrina.serve.live_state import Champions

pytestmark = pytest.mark.security

FEW = 100
MANY = 2_000  # letters of a catalogue
UNKNOWN = "".join(chr(ord("一") + 37 * n) for n in range(24))


def corrector_of(folder: Path, n_letters: int) -> SpellingCorrector:
    """A corrector of a catalogue whose titles hold so many Chinese signs."""
    letters = [chr(ord("一") + n) for n in range(n_letters)]
    titles = tuple("".join(letters[start : start + 4]) for start in range(0, n_letters, 4))
    none = ("",) * len(titles)
    number = np.full(len(titles), np.nan)
    names = np.array([f"p{n}" for n in range(len(titles))])
    path = folder / f"{n_letters}.json"
    write_word_counts(Catalogue(names, titles, none, none, none, none, number, number, number), path)
    return SpellingCorrector(path, lambda word: False)


def test_correcting_a_word_costs_no_more_in_a_large_alphabet(tmp_path):
    """S15: the letters that are tried are bounded, whatever signs the catalogue holds."""
    few = corrector_of(tmp_path, FEW)
    many = corrector_of(tmp_path, MANY)
    cost_of_few = instructions(lambda: few.correct(UNKNOWN))
    assert cost_of_few > FEW
    assert instructions(lambda: many.correct(UNKNOWN)) < 2 * cost_of_few


def test_served_versions_may_change_while_they_are_listed():
    """S41: a version that another thread opens meanwhile ends no answer to /readyz or /metrics."""
    pointers = {}
    loaded_bundles: Any = SimpleNamespace(get=lambda scenario, version: object(), fault=lambda version: None)
    registry: Any = SimpleNamespace(champions=lambda: dict(pointers))
    champions = Champions(registry, loaded_bundles)
    interruptions: list[Callable[[], None]] = []

    class Scenario(str):
        """A name that lets something else happen when it is put into a dictionary."""

        def __hash__(self) -> int:
            if interruptions:
                interruptions.pop()()
            return str.__hash__(self)

        __eq__ = str.__eq__

    pointers[Scenario("recommend")] = "recommend-1"
    champions.refresh()
    pointers["search"] = "search-1"
    interruptions.append(champions.refresh)
    assert set(champions.all()) >= {"recommend"}
    assert not interruptions
    assert set(champions.all()) == {"recommend", "search"}
