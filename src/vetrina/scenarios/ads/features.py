"""Click features of an ad impression: user affinities, recent events, slot position.

Training and serving compute them with the same code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vetrina.core.arrays import Floats, Ints
from vetrina.core.labelled_tables import EncodedTable
from vetrina.features.affinities import COLUMNS
from vetrina.features.category_levels import LEVELS
from vetrina.features.table_encoding import TableEncoding

MAX_RECENT_EVENTS = 10  # last events of a user that are features
NO_EVENT = -2  # code of an event that is not there
_RECENCY_DECAY = 0.8  # weight of an event over that of the next newer one
_MATCHED_LEVELS = tuple(LEVELS.index(level) for level in ("category", "leaf", "brand", "title"))
# Column names are stored in the encoding of a bundle.
FEATURE_NAMES = (*COLUMNS, *(f"lately: {LEVELS[level]}" for level in _MATCHED_LEVELS), "lately: events", "place")


def recent_match_shares(recent: Ints, category_levels: Ints) -> Floats:
    """How much of a user's last events is on the same category, leaf, brand and title as each product.

    Args:
        recent: (n or 1, MAX_RECENT_EVENTS, levels) categories of the last events, newest first, -2 where there is none.
        category_levels: (n, levels) categories of the products.

    Returns:
        (n, 5): four shares, newer events counting more, and the number of events.
    """
    weight = _RECENCY_DECAY ** np.arange(recent.shape[1], dtype=np.float32)
    is_event = recent[:, :, 0] > NO_EVENT
    total_weight = np.maximum((is_event * weight).sum(1), 1e-6)
    columns = []
    for level in _MATCHED_LEVELS:
        own_level = category_levels[:, level : level + 1]
        is_match = (recent[:, :, level] == own_level) & (own_level >= 0)
        columns.append(is_match @ weight / total_weight)
    n_events = np.broadcast_to(is_event.sum(1), (len(category_levels),))
    return np.stack([*columns, n_events], 1).astype(np.float32)


def assemble_features(affinity_features: Floats, recent_matches: Floats, position: Ints) -> Floats:
    """(n, FEATURE_NAMES) float32; affinities enter as signed logarithms.

    Args:
        affinity_features: (n, COLUMNS) of ``features.affinities``.
        recent_matches: (n, 5), see ``recent_match_shares``.
        position: (n,) slot of each ad, from 1.
    """
    log_affinities = np.sign(affinity_features) * np.log1p(np.abs(affinity_features))
    return np.column_stack([log_affinities, recent_matches, position]).astype(np.float32)


@dataclass(frozen=True)
class ImpressionFeatures:
    """Features of n impressions.

    ``numeric`` (n, FEATURE_NAMES), ``category_levels`` (n, levels) of the ads' products, ``recent_category_levels`` (n,
    MAX_RECENT_EVENTS, levels) of the user's last events, newest first, -2 where there is none.
    """

    numeric: Floats
    category_levels: Ints
    recent_category_levels: Ints

    @classmethod
    def build(
        cls, affinity_features: Floats, category_levels: Ints, recent: Ints, position: Ints
    ) -> "ImpressionFeatures":
        """Features from their parts.

        Args:
            affinity_features: (n, COLUMNS) of ``features.affinities``.
            category_levels: (n, levels) of the ads' products.
            recent: (n, MAX_RECENT_EVENTS, levels) of the user's last events, newest first, -2 where there is none.
            position: (n,) slot of each ad, from 1.
        """
        recent_matches = recent_match_shares(recent, category_levels)
        return cls(assemble_features(affinity_features, recent_matches, position), category_levels, recent)

    @classmethod
    def concatenate(cls, parts: Sequence["ImpressionFeatures"]) -> "ImpressionFeatures":
        """The impressions of all parts, one part after the other."""
        return cls(
            np.concatenate([part.numeric for part in parts]),
            np.concatenate([part.category_levels for part in parts]),
            np.concatenate([part.recent_category_levels for part in parts]),
        )

    def columns(self) -> dict[str, np.ndarray]:
        """The numeric features as table columns, each (n,) float64."""
        return {name: self.numeric[:, index].astype(np.float64) for index, name in enumerate(FEATURE_NAMES)}

    def encode(self, encoding: TableEncoding) -> EncodedTable:
        """The impressions as click models read them."""
        return self.with_category_levels(encoding.encode(self.columns()))

    def with_category_levels(self, rows: EncodedTable) -> EncodedTable:
        """The encoded rows (n) with the categories of the ads' products and of the last events."""
        return replace(rows, candidate_levels=self.category_levels, history_levels=self.recent_category_levels)
