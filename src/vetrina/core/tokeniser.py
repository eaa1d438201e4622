"""Text as words. Chinese and Japanese stand without spaces: each character counts, and each pair of neighbours."""

import re

# Kana, ideographs with their extension A and the compatibility block.
_UNSPACED_SCRIPTS = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def tokenise(text: str) -> list[str]:
    """Lower-case runs of letters and digits, unspaced writing by characters and pairs."""
    lower = split_unspaced_scripts(text.lower())
    return "".join(c if c.isalnum() else " " for c in lower).split()


def split_unspaced_scripts(text: str) -> str:
    """``text`` with unspaced writing taken apart, everything else as it is."""
    return _UNSPACED_SCRIPTS.sub(_characters_and_bigrams, text)


def _characters_and_bigrams(found: re.Match[str]) -> str:
    run = found.group()
    pairs = (run[i : i + 2] for i in range(len(run) - 1))
    return f" {' '.join([*run, *pairs])} "
