"""Readers that turn log rows into column arrays, in batches: a batch of rows is released once it is columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.exposures import Exposure
from vetrina.core.logged_events import LoggedEvent
from vetrina.core.types import Ints
from vetrina.evaluation.attribution import attributed_request
from vetrina.monitor.log_columns import (
    N_POSITIONS,
    NO_VALUE,
    UNKNOWN_PRODUCT,
    AnswerColumns,
    EventColumns,
    ImpressionColumns,
)

IndexLookup = Callable[[Sequence[str]], Ints]  # product ids to catalogue indices, -1 for unknown ones


class Vocabulary:
    """Codes for names, from 0 in the order in which the names appear."""

    def __init__(self) -> None:
        self._code_by_name: dict[str, int] = {}

    def encode(self, names: Iterable[str]) -> Ints:
        """Codes (n,) of names; new names get new codes."""
        codes = self._code_by_name
        return np.array([codes.setdefault(name, len(codes)) for name in names], np.int32)

    def encode_optional(self, names: Sequence[str]) -> Ints:
        """Codes (n,) of names, ``NO_VALUE`` for an empty one."""
        codes = np.full(len(names), NO_VALUE, np.int32)
        has_name = np.array([bool(name) for name in names], bool)
        codes[has_name] = self.encode(name for name in names if name)
        return codes

    @property
    def names(self) -> list[str]:
        """The names, by code."""
        return list(self._code_by_name)


@dataclass
class EventReader:
    """Reads a day's events in batches."""

    index_of: IndexLookup
    _units: Vocabulary = field(default_factory=Vocabulary)
    _types: Vocabulary = field(default_factory=Vocabulary)
    _queries: Vocabulary = field(default_factory=Vocabulary)
    _unknown_products: set[str] = field(default_factory=set)
    _batches: list[tuple[NDArray[Any], ...]] = field(default_factory=list)

    def add(self, events: Sequence[LoggedEvent]) -> None:
        """Add a batch of events."""
        units: list[str] = []
        times: list[float] = []
        types: list[str] = []
        product_ids: list[str] = []
        prices: list[float] = []
        queries: list[str] = []
        for event in events:
            units.append(event.user)
            times.append(event.time)
            types.append(event.type)
            product_ids.append(event.product_id or "")
            prices.append(_to_float(event.price))
            queries.append(event.query or "")
        batch = (
            self._units.encode(units),
            np.array(times, np.float64),
            self._types.encode(types),
            self._item_codes(product_ids),
            np.array(prices, np.float64),
            self._queries.encode_optional(queries),
        )
        self._batches.append(batch)

    def columns(self) -> EventColumns:
        """All events that were added."""
        if not self._batches:
            self.add(())
        unit, time, event_type, item, price, query = _concatenate(self._batches)
        return EventColumns(
            unit=unit,
            time=time,
            type=event_type,
            item=item,
            price=price,
            query=query,
            types=self._types.names,
            queries=self._queries.names,
            n_unknown_products=len(self._unknown_products),
        )

    def _item_codes(self, product_ids: Sequence[str]) -> Ints:
        """(n,) catalogue indices, ``NO_VALUE`` without product, ``UNKNOWN_PRODUCT`` where the catalogue lacks it."""
        indices = self.index_of(product_ids)
        has_product = np.array([bool(product_id) for product_id in product_ids], bool)
        known_or_unknown = np.where(indices >= 0, indices, UNKNOWN_PRODUCT)
        items = np.where(has_product, known_or_unknown, NO_VALUE).astype(np.int32)
        unknown_rows = np.flatnonzero(items == UNKNOWN_PRODUCT).tolist()
        self._unknown_products.update(product_ids[row] for row in unknown_rows)
        return items


@dataclass
class AnswerReader:
    """Reads a day's answers in batches, each with the events that may follow them."""

    index_of: IndexLookup
    _units: Vocabulary = field(default_factory=Vocabulary)
    _placements: Vocabulary = field(default_factory=Vocabulary)
    _queries: Vocabulary = field(default_factory=Vocabulary)
    _delays: list[float] = field(default_factory=list)
    _answer_batches: list[tuple[NDArray[Any], ...]] = field(default_factory=list)
    _impression_batches: list[tuple[NDArray[Any], ...]] = field(default_factory=list)
    _count: int = 0

    def add(self, answers: Sequence[Exposure], events: Iterable[LoggedEvent]) -> None:
        """Add a batch of answers with their items, and the events that may be clicks on them."""
        clicks = self._attribute_clicks(answers, events)
        self._answer_batches.append(self._answer_columns(answers, clicks))
        self._impression_batches.append(self._impression_columns(answers, clicks))
        self._count += len(answers)

    def columns(self) -> AnswerColumns:
        """All answers that were added."""
        if not self._answer_batches:
            self.add((), ())
        unit, placement, query, is_identified, n_items, clicked = _concatenate(self._answer_batches)
        return AnswerColumns(
            unit=unit,
            placement=placement,
            query=query,
            is_identified=is_identified,
            n_items=n_items,
            clicked=clicked,
            impressions=ImpressionColumns(*_concatenate(self._impression_batches)),
            click_delays=np.array(self._delays, float),
            placements=self._placements.names,
            queries=self._queries.names,
        )

    def _answer_columns(self, answers: Sequence[Exposure], clicks: Mapping[str, set[str]]) -> tuple[NDArray[Any], ...]:
        """Unit, placement, query, whether the user is identified, number of products, whether one was clicked."""
        units: list[str] = []
        placements: list[str] = []
        queries: list[str] = []
        is_identified: list[bool] = []
        n_items: list[int] = []
        clicked: list[bool] = []
        for answer in answers:
            request = msgspec.json.decode(answer.request_json)
            units.append(answer.unit or answer.request_id)
            placements.append(str(request.get("placement", "home")))
            queries.append(str(request.get("query", "")))
            is_identified.append(answer.user is not None)
            n_items.append(len(answer.items))
            clicked.append(answer.request_id in clicks)
        return (
            self._units.encode(units),
            self._placements.encode(placements),
            self._queries.encode_optional(queries),
            np.array(is_identified, bool),
            np.array(n_items, np.int32),
            np.array(clicked, bool),
        )

    def _impression_columns(
        self, answers: Sequence[Exposure], clicks: Mapping[str, set[str]]
    ) -> tuple[NDArray[Any], ...]:
        """Answer, position, score, product, whether it was clicked: of the first ``N_POSITIONS`` products of each answer."""
        numbers: list[int] = []
        positions: list[int] = []
        scores: list[float] = []
        product_ids: list[str] = []
        clicked: list[bool] = []
        for number, answer in enumerate(answers, start=self._count):
            clicked_products = clicks.get(answer.request_id, ())
            for item in answer.items:
                if item.position > N_POSITIONS:
                    continue
                numbers.append(number)
                positions.append(item.position - 1)
                scores.append(_to_float(item.score))
                product_ids.append(item.product_id)
                clicked.append(item.product_id in clicked_products)
        return (
            np.array(numbers, np.int32),
            np.array(positions, np.int32),
            np.array(scores, np.float64),
            self.index_of(product_ids),
            np.array(clicked, bool),
        )

    def _attribute_clicks(self, answers: Sequence[Exposure], events: Iterable[LoggedEvent]) -> dict[str, set[str]]:
        """Clicked products by answer; records the delay of each answer's first click."""
        products_by_request = {answer.request_id: answer.product_ids for answer in answers}
        answered_at = {answer.request_id: answer.time for answer in answers}
        clicks: dict[str, set[str]] = {}
        for event in sorted(events, key=lambda event: event.time):
            request_id = attributed_request(event, products_by_request)
            if request_id is None or event.product_id is None:
                continue
            if request_id not in clicks:
                clicks[request_id] = set()
                self._delays.append(max(0.0, event.time - answered_at[request_id]))
            clicks[request_id].add(event.product_id)
        return clicks


def _concatenate(batches: Sequence[tuple[NDArray[Any], ...]]) -> tuple[NDArray[Any], ...]:
    """The columns of all batches, one array a column."""
    return tuple(np.concatenate(column) for column in zip(*batches, strict=True))


def _to_float(value: float | None) -> float:
    if value is None:
        return np.nan
    return float(value)
