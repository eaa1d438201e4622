"""Rows of the log become columns: a day is read in pieces, and a piece is forgotten once it is columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Ints
from vetrina.metrics.attribution import followed
from vetrina.monitor.columns import NOTHING, PLACES, UNKNOWN, Answers, Events, Shown

Row = Mapping[str, Any]
IndexOf = Callable[[Sequence[str]], Ints]


class Codes:
    """Numbers names from 0, in the order in which they come."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, names: Iterable[str]) -> Ints:
        """(n,)."""
        known = self._known
        return np.array([known.setdefault(n, len(known)) for n in names], np.int32)

    def some(self, names: Sequence[str]) -> Ints:
        """(n,), NOTHING for an empty name."""
        found = np.full(len(names), NOTHING, np.int32)
        found[np.array([bool(n) for n in names], bool)] = self.of(n for n in names if n)
        return found

    @property
    def names(self) -> list[str]:
        """By number."""
        return list(self._known)


@dataclass
class EventReader:
    """Takes a day's events in pieces."""

    index_of: IndexOf
    _units: Codes = field(default_factory=Codes)
    _types: Codes = field(default_factory=Codes)
    _queries: Codes = field(default_factory=Codes)
    _strangers: set[str] = field(default_factory=set)
    _parts: list[tuple[NDArray[Any], ...]] = field(default_factory=list)

    def add(self, rows: Sequence[Row]) -> None:
        """Some more rows of the log."""
        products = [r.get("product_id") or "" for r in rows]
        found = self.index_of(products)
        there = np.array([bool(p) for p in products], bool)
        item = np.where(there, np.where(found >= 0, found, UNKNOWN), NOTHING).astype(np.int32)
        self._strangers |= {products[n] for n in np.flatnonzero(item == UNKNOWN)}
        self._parts.append(
            (
                self._units.of(r["user"] or r["session"] or "" for r in rows),
                np.array([r["time"] for r in rows], np.float64),
                self._types.of(r["type"] for r in rows),
                item,
                np.array([_number(r.get("price")) for r in rows], np.float64),
                self._queries.some([r.get("query") or "" for r in rows]),
            )
        )

    def columns(self) -> Events:
        """All that was added."""
        if not self._parts:
            self.add(())
        unit, time, kind, item, price, query = (np.concatenate(c) for c in zip(*self._parts, strict=True))
        names = (self._types.names, self._queries.names, len(self._strangers))
        return Events(unit, time, kind, item, price, query, *names)


@dataclass
class AnswerReader:
    """Takes a day's answers in pieces, each with the events that may follow them."""

    index_of: IndexOf
    _units: Codes = field(default_factory=Codes)
    _placements: Codes = field(default_factory=Codes)
    _queries: Codes = field(default_factory=Codes)
    _delays: list[float] = field(default_factory=list)
    _answers: list[tuple[NDArray[Any], ...]] = field(default_factory=list)
    _shown: list[tuple[NDArray[Any], ...]] = field(default_factory=list)
    _count: int = 0

    def add(self, answers: Sequence[Row], events: Iterable[Row]) -> None:
        """Some more answers of the log."""
        clicks = self._clicks(answers, events)
        asked = [msgspec.json.decode(a["request"]) for a in answers]
        self._answers.append(
            (
                self._units.of(a["user"] or a["session"] or a["request_id"] for a in answers),
                self._placements.of(str(q.get("placement", "home")) for q in asked),
                self._queries.some([str(q.get("query", "")) for q in asked]),
                np.array([a["user"] is not None for a in answers], bool),
                np.array([len(a["items"]) for a in answers], np.int32),
                np.array([a["request_id"] in clicks for a in answers], bool),
            )
        )
        shown = [
            (n, i["position"] - 1, _number(i.get("score")), i["product_id"], clicks.get(a["request_id"], ()))
            for n, a in enumerate(answers, self._count)
            for i in a["items"]
            if i["position"] <= PLACES
        ]
        self._shown.append(
            (
                np.array([s[0] for s in shown], np.int32),
                np.array([s[1] for s in shown], np.int32),
                np.array([s[2] for s in shown], np.float64),
                self.index_of([s[3] for s in shown]),
                np.array([s[3] in s[4] for s in shown], bool),
            )
        )
        self._count += len(answers)

    def _clicks(self, answers: Sequence[Row], events: Iterable[Row]) -> dict[str, set[str]]:
        """Followed products by answer; notes how long the first took."""
        shown = {a["request_id"]: {i["product_id"] for i in a["items"]} for a in answers}
        at = {a["request_id"]: a["time"] for a in answers}
        clicks: dict[str, set[str]] = {}
        for event in sorted(events, key=lambda e: e["time"]):
            request = followed(event, shown)
            if request is None:
                continue
            if request not in clicks:
                self._delays.append(max(0.0, event["time"] - at[request]))
            clicks.setdefault(request, set()).add(event["product_id"])
        return clicks

    def columns(self) -> Answers:
        """All that was added."""
        if not self._answers:
            self.add((), ())
        unit, placement, query, known, size, clicked = (np.concatenate(c) for c in zip(*self._answers, strict=True))
        shown = Shown(*(np.concatenate(c) for c in zip(*self._shown, strict=True)))
        delays = np.array(self._delays, float)
        names = (self._placements.names, self._queries.names)
        return Answers(unit, placement, query, known, size, clicked, shown, delays, *names)


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)
