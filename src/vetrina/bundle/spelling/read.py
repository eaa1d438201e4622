"""Spelling correction of query words at edit distance one from the catalogue's words."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

_MIN_PRODUCTS_PER_WORD = 2
_MIN_WORD_LENGTH = 4
_MAX_WORD_LENGTH = 24
_MAX_LETTERS = 64  # of a script: alphabets have fewer; of a script of signs the most frequent ones are tried
_MAX_CORRECTED_WORDS = 8  # of one query


class SpellingCorrector:
    """Corrects unknown words of a query.

    Args:
        path: File that ``write_word_counts`` wrote.
        is_known_word: Returns whether a word needs no correction.
    """

    def __init__(self, path: Path, is_known_word: Callable[[str], bool]) -> None:
        self._counts: dict[str, int] = msgspec.json.decode(path.read_bytes())
        self._letters = _letters_by_script(self._counts)
        self._is_known_word = is_known_word

    def correct(self, query: str) -> str:
        """Return ``query`` with its unknown words replaced by the most frequent catalogue word at edit distance one.

        An edit adds, drops or changes a letter or swaps two neighbours, but never touches the first; short words and those with
        a digit stay, and so do unknown words after the first few.
        """
        corrected = []
        n_unknown = 0
        for original in query.split():
            if n_unknown < _MAX_CORRECTED_WORDS and self._is_correctable(original.lower()):
                n_unknown += 1
                original = self._correct_word(original)
            corrected.append(original)
        return " ".join(corrected)

    def _is_correctable(self, word: str) -> bool:
        is_of_length = _MIN_WORD_LENGTH <= len(word) <= _MAX_WORD_LENGTH
        return is_of_length and word.isalpha() and word not in self._counts and not self._is_known_word(word)

    def _correct_word(self, original: str) -> str:
        word = original.lower()
        count_of_candidate = {}
        for candidate in self._edits(word):
            count = self._counts.get(candidate, 0)
            if count >= _MIN_PRODUCTS_PER_WORD:
                count_of_candidate[candidate] = count
        if not count_of_candidate:
            return original
        return min(count_of_candidate, key=lambda candidate: (-count_of_candidate[candidate], candidate))

    def _edits(self, word: str) -> Iterator[str]:
        """Yield all words at edit distance one that keep the first letter, with letters of the word's own scripts."""
        scripts = {_script(letter) for letter in word}
        letters = [letter for script in sorted(scripts) for letter in self._letters.get(script, ())]
        for at in range(1, len(word) + 1):
            head = word[:at]
            tail = word[at:]
            yield from (head + letter + tail for letter in letters)
            if tail:
                yield head + tail[1:]
                yield from (head + letter + tail[1:] for letter in letters)
            if len(tail) > 1:
                yield head + tail[1] + tail[0] + tail[2:]


def _letters_by_script(counts: Mapping[str, int]) -> dict[str, list[str]]:
    """The letters of the catalogue's words by script: the most frequent ones of each."""
    letter_counts: Counter[str] = Counter()
    for word, count in counts.items():
        for letter in word:
            letter_counts[letter] += count
    letters_by_script: dict[str, list[str]] = {}
    for letter, _ in letter_counts.most_common():
        letters = letters_by_script.setdefault(_script(letter), [])
        if len(letters) < _MAX_LETTERS:
            letters.append(letter)
    return letters_by_script


def _script(letter: str) -> str:
    """The first word of a letter's Unicode name, such as LATIN, CYRILLIC or CJK; empty where it has no name."""
    return unicodedata.name(letter, "").partition(" ")[0]
