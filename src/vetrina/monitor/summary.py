"""From a day's columns to what is kept of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.health import SHOP, Day, Moments, Places, Ruler
from vetrina.metrics.moments import moments
from vetrina.monitor import rulers as measure
from vetrina.monitor.columns import NOTHING, PLACES, UNKNOWN, Answers, Events, Shown
from vetrina.retrieval.shelf import Shelf

Encode = Callable[[list[str]], NDArray[np.floating]]  # texts to vectors (n, width)
_HOURS = ("night", "morning", "afternoon", "evening")
_SCORES, _MOST_TEXTS, _DELAYS = 8, 1_000, 24


@dataclass
class _Features:
    """Measures values with the rulers at hand; those missing are made from these values."""

    rulers: dict[str, Ruler]
    found: dict[str, Moments] = field(default_factory=dict)

    def numbers(self, name: str, unit: NDArray[Any], values: NDArray[Any], *, ruler: str = "") -> NDArray[np.float64]:
        """Keeps the feature and returns where the values lie, (n,) in 0..1 or NaN."""
        there = np.isfinite(values)
        found = self.rulers.setdefault(ruler or name, measure.for_numbers(values[there]))
        if not found.edges:
            del self.rulers[ruler or name]
            return np.full(len(values), np.nan)
        self.found[name] = moments(unit[there], measure.numbers(found, values[there]))
        edges = np.array(found.edges)
        return np.where(there, np.searchsorted(edges, np.nan_to_num(values), "right") / len(edges), np.nan)

    def names(self, name: str, unit: NDArray[Any], known: Sequence[str], codes: NDArray[Any]) -> None:
        if not len(codes):
            return
        counts = np.bincount(codes[codes >= 0], minlength=len(known))
        found = self.rulers.setdefault(name, measure.for_names(known, counts))
        if len(found.groups):
            self.found[name] = moments(unit, measure.names(found, known, codes))

    def flags(self, name: str, unit: NDArray[Any], values: NDArray[Any]) -> None:
        if len(values):
            self.found[name] = moments(unit, measure.flags(values))

    def texts(self, name: str, unit: NDArray[Any], texts: Sequence[str], codes: NDArray[Any], encode: Encode) -> None:
        """The meaning of some of the texts, the same ones every day as far as they come again."""
        used: list[int] = np.unique(codes[codes >= 0]).tolist()
        chosen = sorted(used, key=lambda c: _stable(texts[c]))[:_MOST_TEXTS]
        if not chosen:
            return
        row = np.full(len(texts) + 1, -1, np.int64)
        row[chosen] = np.arange(len(chosen))
        at = row[codes]
        vectors = measure.meaning(encode([texts[c] for c in chosen]))
        self.found[name] = moments(unit[at >= 0], vectors[at[at >= 0]])


def of_shop(
    number: int, events: Events, shelf: Shelf | None, encode: Encode | None, rulers: Mapping[str, Ruler]
) -> Day:
    """What shoppers did on a day, whatever they were shown."""
    unit, item = events.unit, events.item
    features = _Features(dict(rulers))
    features.names("event type", unit, events.types, events.type)
    features.names("time of day", unit, _HOURS, (events.time % 86_400 // 21_600).astype(np.int32))
    features.flags("unknown products", unit[item != NOTHING], item[item != NOTHING] == UNKNOWN)
    features.numbers("price in events", unit, events.price)
    known = item >= 0
    _products(features, "", unit[known], item[known], shelf)
    _queries(features, unit, events.queries, events.query, encode)
    if shelf is not None and encode is not None and known.any():
        used, codes = np.unique(item[known], return_inverse=True)
        features.texts("product meaning", unit[known], [shelf.title(int(i)) for i in used], codes, encode)
    each = np.bincount(unit) if len(unit) else np.empty(0)
    features.numbers("events a shopper", np.arange(len(each)), np.log1p(each))
    return Day(SHOP, number, None, len(unit), len(each), 0, features.found, features.rulers, unknown=events.strangers)


def of_answers(
    part: str,
    number: int,
    version: str | None,
    answers: Answers,
    shelf: Shelf | None,
    encode: Encode | None,
    rulers: Mapping[str, Ruler],
    replayed: tuple[int, float] | None = None,
) -> Day:
    """What shoppers were shown by one version on a day, and what they followed.

    Scores of different versions are compared by their place among the scores of their own version.
    """
    unit, shown = answers.unit, answers.shown
    features = _Features(dict(rulers))
    features.names("placement", unit, answers.placements, answers.placement)
    features.flags("known shoppers", unit, answers.known)
    features.flags("empty answers", unit, answers.size == 0)
    _queries(features, unit, answers.queries, answers.query, encode)
    whose = unit[shown.answer]
    level = features.numbers("score", whose, shown.score, ruler=f"score@{version}")
    known = shown.item >= 0
    _products(features, "shown ", whose[known], shown.item[known], shelf)
    delays = np.clip(np.log2(answers.delays + 1.0), 0, _DELAYS - 1).astype(int)
    return Day(
        part,
        number,
        version,
        len(unit),
        len(np.unique(unit)),
        int(answers.clicked.sum()),
        features.found,
        features.rulers,
        _places(level, shown),
        _response(whose, shown),
        tuple(np.bincount(delays, minlength=_DELAYS).tolist()),
        len(np.unique(shown.item)),
        replayed=replayed,
    )


def _products(features: _Features, prefix: str, unit: NDArray[Any], item: NDArray[Any], shelf: Shelf | None) -> None:
    if shelf is None or not len(item):
        return
    for name in ("category", "brand"):
        known, codes = shelf.coded(name)
        features.names(f"{prefix}{name}", unit, known, codes[item])
    features.numbers(f"{prefix}price", unit, shelf.sort_key("price")[item])


def _queries(
    features: _Features, unit: NDArray[Any], texts: Sequence[str], query: NDArray[Any], encode: Encode | None
) -> None:
    asked = query >= 0
    if asked.any():
        words = np.array([len(t.split()) for t in texts], float)
        features.numbers("query length", unit[asked], words[query[asked]])
        if encode is not None:
            features.texts("query meaning", unit[asked], texts, query[asked], encode)


def _places(level: NDArray[Any], shown: Shown) -> Places:
    there = np.isfinite(level)
    row = np.minimum((level[there] * _SCORES).astype(int), _SCORES - 1)
    cell = row * PLACES + shown.place[there]
    of = np.bincount(cell, minlength=_SCORES * PLACES)
    hit = np.bincount(cell, shown.clicked[there], _SCORES * PLACES)
    return Places(PLACES, tuple(of.tolist()), tuple(hit.astype(int).tolist()))


def _response(unit: NDArray[Any], shown: Shown) -> Moments:
    """By unit: clicks at each place, then products shown there."""
    rows = np.zeros((len(unit), 2 * PLACES))
    rows[np.arange(len(unit)), PLACES + shown.place] = 1.0
    rows[np.arange(len(unit)), shown.place] = shown.clicked
    return moments(unit, rows, total=True)


def _stable(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
