"""Spelling correction of query words at edit distance one from the catalogue's words."""

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
    """Write every word of the catalogue with the number of its products."""
    texts = zip(
        catalogue.titles,
        catalogue.descriptions,
        catalogue.brands,
        catalogue.categories,
        catalogue.attributes,
        strict=True,
    )
    counts = Counter(word for row in texts for word in set(tokenise(" ".join(row))))
    path.write_bytes(msgspec.json.encode(dict(sorted(counts.items()))))


class SpellingCorrector:
    """Corrects unknown words of a query.

    Args:
        path: File that ``write`` wrote.
        is_known_word: Returns whether a word needs no correction.
    """

    def __init__(self, path: Path, is_known_word: Callable[[str], bool]) -> None:
        self._counts: dict[str, int] = msgspec.json.decode(path.read_bytes())
        self._letters = sorted({letter for word in self._counts for letter in word})
        self._is_known_word = is_known_word

    def correct(self, query: str) -> str:
        """Return ``query`` with its unknown words replaced by the most frequent catalogue word at edit distance one.

        An edit adds, drops or changes a letter or swaps two neighbours, but never touches the first; short words and those with
        a digit stay.
        """
        return " ".join(self._correct_word(word) for word in query.split())

    def _correct_word(self, original: str) -> str:
        word = original.lower()
        is_correctable = _MIN_WORD_LENGTH <= len(word) <= _MAX_WORD_LENGTH and word.isalpha()
        if not is_correctable or word in self._counts or self._is_known_word(word):
            return original
        count_of_candidate = {}
        for candidate in self._edits(word):
            count = self._counts.get(candidate, 0)
            if count >= _MIN_PRODUCTS_PER_WORD:
                count_of_candidate[candidate] = count
        if not count_of_candidate:
            return original
        return min(count_of_candidate, key=lambda candidate: (-count_of_candidate[candidate], candidate))

    def _edits(self, word: str) -> Iterator[str]:
        """Yield all words at edit distance one that keep the first letter."""
        for at in range(1, len(word) + 1):
            head = word[:at]
            tail = word[at:]
            yield from (head + letter + tail for letter in self._letters)
            if tail:
                yield head + tail[1:]
                yield from (head + letter + tail[1:] for letter in self._letters)
            if len(tail) > 1:
                yield head + tail[1] + tail[0] + tail[2:]
