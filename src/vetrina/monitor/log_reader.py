"""Rows of the log become columns: a day is read in pieces, and a piece is forgotten once it is columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Ints
from vetrina.metrics.attribution import attributed_request
from vetrina.monitor.log_columns import (
    N_POSITIONS,
    NO_VALUE,
    UNKNOWN_PRODUCT,
    AnswerColumns,
    EventColumns,
    ImpressionColumns,
)

Row = Mapping[str, Any]
IndexLookup = Callable[[Sequence[str]], Ints]


class Vocabulary:
    """Numbers names from 0, in the order in which they come."""

    def __init__(self) -> None:
        self._code_by_name: dict[str, int] = {}

    def encode(self, names: Iterable[str]) -> Ints:
        """(n,)."""
        known = self._code_by_name
        return np.array([known.setdefault(n, len(known)) for n in names], np.int32)

    def encode_optional(self, names: Sequence[str]) -> Ints:
        """(n,), NOTHING for an empty name."""
        found = np.full(len(names), NO_VALUE, np.int32)
        found[np.array([bool(n) for n in names], bool)] = self.encode(n for n in names if n)
        return found

    @property
    def names(self) -> list[str]:
        """By number."""
        return list(self._code_by_name)


@dataclass
class EventReader:
    """Takes a day's events in pieces."""

    index_of: IndexLookup
    _units: Vocabulary = field(default_factory=Vocabulary)
    _types: Vocabulary = field(default_factory=Vocabulary)
    _queries: Vocabulary = field(default_factory=Vocabulary)
    _unknown_products: set[str] = field(default_factory=set)
    _batches: list[tuple[NDArray[Any], ...]] = field(default_factory=list)

    def add(self, rows: Sequence[Row]) -> None:
        """Some more rows of the log."""
        products = [r.get("product_id") or "" for r in rows]
        found = self.index_of(products)
        there = np.array([bool(p) for p in products], bool)
        item = np.where(there, np.where(found >= 0, found, UNKNOWN_PRODUCT), NO_VALUE).astype(np.int32)
        self._unknown_products |= {products[n] for n in np.flatnonzero(item == UNKNOWN_PRODUCT)}
        self._batches.append(
            (
                self._units.encode(r["user"] or r["session"] or "" for r in rows),
                np.array([r["time"] for r in rows], np.float64),
                self._types.encode(r["type"] for r in rows),
                item,
                np.array([_to_float(r.get("price")) for r in rows], np.float64),
                self._queries.encode_optional([r.get("query") or "" for r in rows]),
            )
        )

    def columns(self) -> EventColumns:
        """All that was added."""
        if not self._batches:
            self.add(())
        unit, time, kind, item, price, query = (np.concatenate(c) for c in zip(*self._batches, strict=True))
        names = (self._types.names, self._queries.names, len(self._unknown_products))
        return EventColumns(unit, time, kind, item, price, query, *names)


@dataclass
class AnswerReader:
    """Takes a day's answers in pieces, each with the events that may follow them."""

    index_of: IndexLookup
    _units: Vocabulary = field(default_factory=Vocabulary)
    _placements: Vocabulary = field(default_factory=Vocabulary)
    _queries: Vocabulary = field(default_factory=Vocabulary)
    _delays: list[float] = field(default_factory=list)
    _answer_batches: list[tuple[NDArray[Any], ...]] = field(default_factory=list)
    _impressions: list[tuple[NDArray[Any], ...]] = field(default_factory=list)
    _count: int = 0

    def add(self, answers: Sequence[Row], events: Iterable[Row]) -> None:
        """Some more answers of the log."""
        clicks = self._attribute_clicks(answers, events)
        asked = [msgspec.json.decode(a["request"]) for a in answers]
        self._answer_batches.append(
            (
                self._units.encode(a["user"] or a["session"] or a["request_id"] for a in answers),
                self._placements.encode(str(q.get("placement", "home")) for q in asked),
                self._queries.encode_optional([str(q.get("query", "")) for q in asked]),
                np.array([a["user"] is not None for a in answers], bool),
                np.array([len(a["items"]) for a in answers], np.int32),
                np.array([a["request_id"] in clicks for a in answers], bool),
            )
        )
        shown = [
            (n, i["position"] - 1, _to_float(i.get("score")), i["product_id"], clicks.get(a["request_id"], ()))
            for n, a in enumerate(answers, self._count)
            for i in a["items"]
            if i["position"] <= N_POSITIONS
        ]
        self._impressions.append(
            (
                np.array([s[0] for s in shown], np.int32),
                np.array([s[1] for s in shown], np.int32),
                np.array([s[2] for s in shown], np.float64),
                self.index_of([s[3] for s in shown]),
                np.array([s[3] in s[4] for s in shown], bool),
            )
        )
        self._count += len(answers)

    def _attribute_clicks(self, answers: Sequence[Row], events: Iterable[Row]) -> dict[str, set[str]]:
        """Followed products by answer; notes how long the first took."""
        shown = {a["request_id"]: {i["product_id"] for i in a["items"]} for a in answers}
        at = {a["request_id"]: a["time"] for a in answers}
        clicks: dict[str, set[str]] = {}
        for event in sorted(events, key=lambda e: e["time"]):
            request = attributed_request(event, shown)
            if request is None:
                continue
            if request not in clicks:
                self._delays.append(max(0.0, event["time"] - at[request]))
            clicks.setdefault(request, set()).add(event["product_id"])
        return clicks

    def columns(self) -> AnswerColumns:
        """All that was added."""
        if not self._answer_batches:
            self.add((), ())
        unit, placement, query, known, size, clicked = (
            np.concatenate(c) for c in zip(*self._answer_batches, strict=True)
        )
        shown = ImpressionColumns(*(np.concatenate(c) for c in zip(*self._impressions, strict=True)))
        delays = np.array(self._delays, float)
        names = (self._placements.names, self._queries.names)
        return AnswerColumns(unit, placement, query, known, size, clicked, shown, delays, *names)


def _to_float(value: Any) -> float:
    return np.nan if value is None else float(value)
