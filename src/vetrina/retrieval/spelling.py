"""Words as they were meant: one slip of the finger away from a word of the catalogue."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from vetrina.core.types import Catalogue
from vetrina.core.words import words

_LEAST, _SHORTEST, _LONGEST = 2, 4, 24


def write(catalogue: Catalogue, path: Path) -> None:
    """Every word that stands in a product, and in how many."""
    said = zip(
        catalogue.titles, catalogue.texts, catalogue.brands, catalogue.categories, catalogue.attributes, strict=True
    )
    counts = Counter(word for row in said for word in set(words(" ".join(row))))
    path.write_bytes(msgspec.json.encode(dict(sorted(counts.items()))))


class Spelling:
    """``known`` says of a word whether it is one at all; such words are left as they are."""

    def __init__(self, path: Path, known: Callable[[str], bool]) -> None:
        self._counts: dict[str, int] = msgspec.json.decode(path.read_bytes())
        self._letters = sorted({letter for word in self._counts for letter in word})
        self._known = known

    def mended(self, query: str) -> str:
        """``query``, its unknown words exchanged for the commonest word of at least _LEAST products that one slip makes them of.

        A slip adds, drops or changes a letter or swaps two neighbours, but never touches the first; short words and those with a
        digit stay.
        """
        return " ".join(self._mended(word) for word in query.split())

    def _mended(self, said: str) -> str:
        word = said.lower()
        if not (_SHORTEST <= len(word) <= _LONGEST and word.isalpha()) or word in self._counts or self._known(word):
            return said
        found = {near: n for near in self._near(word) if (n := self._counts.get(near, 0)) >= _LEAST}
        return min(found, key=lambda near: (-found[near], near)) if found else said

    def _near(self, word: str) -> Iterator[str]:
        for at in range(1, len(word) + 1):
            head, tail = word[:at], word[at:]
            yield from (head + letter + tail for letter in self._letters)
            if tail:
                yield head + tail[1:]
                yield from (head + letter + tail[1:] for letter in self._letters)
            if len(tail) > 1:
                yield head + tail[1] + tail[0] + tail[2:]
