"""Tokeniser for words, and for characters and bigrams of Chinese and Japanese.

Chinese and Japanese are written without spaces: each character is a token, and so is each pair of adjacent characters.
"""

import re

# Kana, ideographs with their extension A and the compatibility block.
_UNSPACED_SCRIPTS = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def tokenise(text: str) -> list[str]:
    """Lower-case tokens of ``text``: runs of letters and digits; characters and bigrams of unspaced scripts."""
    spaced = split_unspaced_scripts(text.lower())
    letters_and_digits = "".join(c if c.isalnum() else " " for c in spaced)
    return letters_and_digits.split()


def split_unspaced_scripts(text: str) -> str:
    """``text`` with runs of unspaced scripts replaced by their characters and bigrams, separated by spaces."""
    return _UNSPACED_SCRIPTS.sub(_characters_and_bigrams, text)


def _characters_and_bigrams(match: re.Match[str]) -> str:
    characters = match.group()
    bigrams = [characters[i : i + 2] for i in range(len(characters) - 1)]
    tokens = " ".join([*characters, *bigrams])
    return f" {tokens} "
