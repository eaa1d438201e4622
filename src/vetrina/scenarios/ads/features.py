"""What a click on an ad is told by: who the user is to this kind of product, what they did a moment ago, and the place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vetrina.core.tables import Rows
from vetrina.core.types import Floats, Ints
from vetrina.features.affinities import COLUMNS
from vetrina.features.encoding import Encoding
from vetrina.features.kinds import LEVELS

RECENT = 10  # the events of a user that count as a moment ago
_MATCHED = tuple(LEVELS.index(level) for level in ("category", "leaf", "brand", "title"))
NAMES = (*COLUMNS, *(f"lately: {LEVELS[level]}" for level in _MATCHED), "lately: events", "place")


def matches(recent: Ints, kinds: Ints) -> Floats:
    """(n, 5): the share of a user's last events on the same category, leaf, brand and title as each product, newer ones
    counting more, and how many there were.

    ``recent`` (n or 1, RECENT, levels) are the kinds of the last events, newest first, -2 where there is none; ``kinds`` (n,
    levels) those of the products.
    """
    weight = 0.8 ** np.arange(recent.shape[1], dtype=np.float32)
    there = recent[:, :, 0] > -2
    total = np.maximum((there * weight).sum(1), 1e-6)
    shares = [
        ((recent[:, :, at] == kinds[:, at : at + 1]) & (kinds[:, at : at + 1] >= 0)) @ weight / total for at in _MATCHED
    ]
    events = np.broadcast_to(there.sum(1), (len(kinds),))
    return np.stack([*shares, events], 1).astype(np.float32)


def assembled(known: Floats, matched: Floats, place: Ints) -> Floats:
    """(n, NAMES) from ``affinities`` (n, COLUMNS), ``matches`` (n, 5) and places from 1 (n,). Counts are taken as logarithms."""
    counts = np.sign(known) * np.log1p(np.abs(known))
    return np.column_stack([counts, matched, place]).astype(np.float32)


@dataclass(frozen=True)
class Situations:
    """What is known when ads are shown: ``numbers`` (n, NAMES), the ads' ``kinds`` (n, levels), and those of the user's last
    events, ``recent`` (n, RECENT, levels), newest first, -2 where there is none."""

    numbers: Floats
    kinds: Ints
    recent: Ints

    @classmethod
    def of(cls, known: Floats, kinds: Ints, recent: Ints, place: Ints) -> "Situations":
        """From ``affinities`` (n, COLUMNS) and places from 1 (n,)."""
        return cls(assembled(known, matches(recent, kinds), place), kinds, recent)

    @classmethod
    def joined(cls, parts: Sequence["Situations"]) -> "Situations":
        """One after the other."""
        numbers, kinds, recent = (
            np.concatenate([getattr(p, n) for p in parts]) for n in ("numbers", "kinds", "recent")
        )
        return cls(numbers, kinds, recent)

    def columns(self) -> dict[str, np.ndarray]:
        """The numbers as columns of a table."""
        return {name: self.numbers[:, at].astype(np.float64) for at, name in enumerate(NAMES)}

    def encoded(self, encoding: Encoding) -> Rows:
        """As models read them."""
        return self.beside(encoding.encode(self.columns()))

    def beside(self, rows: Rows) -> Rows:
        """The same rows with kinds beside their numbers."""
        return replace(rows, asked=self.kinds, before=self.recent)
