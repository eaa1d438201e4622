"""Words as they were meant: one slip of the finger away from a word of the catalogue."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from vetrina.core.tokeniser import tokenise
from vetrina.core.types import Catalogue

_MIN_PRODUCTS_PER_WORD = 2
_MIN_WORD_LENGTH = 4
_MAX_WORD_LENGTH = 24


def write(catalogue: Catalogue, path: Path) -> None:
    """Every word that stands in a product, and in how many."""
    said = zip(
        catalogue.titles,
        catalogue.descriptions,
        catalogue.brands,
        catalogue.categories,
        catalogue.attributes,
        strict=True,
    )
    counts = Counter(word for row in said for word in set(tokenise(" ".join(row))))
    path.write_bytes(msgspec.json.encode(dict(sorted(counts.items()))))


class SpellingCorrector:
    """``known`` says of a word whether it is one at all; such words are left as they are."""

    def __init__(self, path: Path, is_known_word: Callable[[str], bool]) -> None:
        self._counts: dict[str, int] = msgspec.json.decode(path.read_bytes())
        self._letters = sorted({letter for word in self._counts for letter in word})
        self._is_known_word = is_known_word

    def correct(self, query: str) -> str:
        """``query``, its unknown words exchanged for the commonest word of at least _LEAST products that one slip makes them of.

        A slip adds, drops or changes a letter or swaps two neighbours, but never touches the first; short words and those with a
        digit stay.
        """
        return " ".join(self._correct_word(word) for word in query.split())

    def _correct_word(self, said: str) -> str:
        word = said.lower()
        if (
            not (_MIN_WORD_LENGTH <= len(word) <= _MAX_WORD_LENGTH and word.isalpha())
            or word in self._counts
            or self._is_known_word(word)
        ):
            return said
        found = {near: n for near in self._edits(word) if (n := self._counts.get(near, 0)) >= _MIN_PRODUCTS_PER_WORD}
        return min(found, key=lambda near: (-found[near], near)) if found else said

    def _edits(self, word: str) -> Iterator[str]:
        for at in range(1, len(word) + 1):
            head = word[:at]
            tail = word[at:]
            yield from (head + letter + tail for letter in self._letters)
            if tail:
                yield head + tail[1:]
                yield from (head + letter + tail[1:] for letter in self._letters)
            if len(tail) > 1:
                yield head + tail[1] + tail[0] + tail[2:]
