"""What a click on an ad is told by: who the user is to this kind of product, what they did a moment ago, and the place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vetrina.core.labelled_tables import EncodedTable
from vetrina.core.types import Floats, Ints
from vetrina.features.affinities import COLUMNS
from vetrina.features.category_levels import LEVELS
from vetrina.features.table_encoding import TableEncoding

MAX_RECENT_EVENTS = 10  # the events of a user that count as a moment ago
_MATCHED_LEVELS = tuple(LEVELS.index(level) for level in ("category", "leaf", "brand", "title"))
FEATURE_NAMES = (*COLUMNS, *(f"lately: {LEVELS[level]}" for level in _MATCHED_LEVELS), "lately: events", "place")


def recent_match_shares(recent: Ints, category_levels: Ints) -> Floats:
    """(n, 5): the share of a user's last events on the same category, leaf, brand and title as each product, newer ones
    counting more, and how many there were.

    ``recent`` (n or 1, RECENT, levels) are the kinds of the last events, newest first, -2 where there is none; ``kinds`` (n,
    levels) those of the products.
    """
    weight = 0.8 ** np.arange(recent.shape[1], dtype=np.float32)
    there = recent[:, :, 0] > -2
    total = np.maximum((there * weight).sum(1), 1e-6)
    shares = [
        ((recent[:, :, at] == category_levels[:, at : at + 1]) & (category_levels[:, at : at + 1] >= 0))
        @ weight
        / total
        for at in _MATCHED_LEVELS
    ]
    events = np.broadcast_to(there.sum(1), (len(category_levels),))
    return np.stack([*shares, events], 1).astype(np.float32)


def assemble_features(affinity_features: Floats, recent_matches: Floats, position: Ints) -> Floats:
    """(n, NAMES) from ``affinities`` (n, COLUMNS), ``matches`` (n, 5) and places from 1 (n,). Counts are taken as logarithms."""
    counts = np.sign(affinity_features) * np.log1p(np.abs(affinity_features))
    return np.column_stack([counts, recent_matches, position]).astype(np.float32)


@dataclass(frozen=True)
class ImpressionFeatures:
    """What is known when ads are shown: ``numbers`` (n, NAMES), the ads' ``kinds`` (n, levels), and those of the user's last
    events, ``recent`` (n, RECENT, levels), newest first, -2 where there is none."""

    numeric: Floats
    category_levels: Ints
    recent_category_levels: Ints

    @classmethod
    def build(
        cls, affinity_features: Floats, category_levels: Ints, recent: Ints, position: Ints
    ) -> "ImpressionFeatures":
        """From ``affinities`` (n, COLUMNS) and places from 1 (n,)."""
        return cls(
            assemble_features(affinity_features, recent_match_shares(recent, category_levels), position),
            category_levels,
            recent,
        )

    @classmethod
    def concatenate(cls, parts: Sequence["ImpressionFeatures"]) -> "ImpressionFeatures":
        """One after the other."""
        numbers, kinds, recent = (
            np.concatenate([getattr(p, n) for p in parts]) for n in ("numbers", "kinds", "recent")
        )
        return cls(numbers, kinds, recent)

    def columns(self) -> dict[str, np.ndarray]:
        """The numbers as columns of a table."""
        return {name: self.numeric[:, at].astype(np.float64) for at, name in enumerate(FEATURE_NAMES)}

    def encode(self, encoding: TableEncoding) -> EncodedTable:
        """As models read them."""
        return self.with_category_levels(encoding.encode(self.columns()))

    def with_category_levels(self, rows: EncodedTable) -> EncodedTable:
        """The same rows with kinds beside their numbers."""
        return replace(rows, candidate_levels=self.category_levels, history_levels=self.recent_category_levels)
