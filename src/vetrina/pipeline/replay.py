"""Asks again what shoppers asked, as of the moment when they asked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from vetrina.core.protocols import Context
from vetrina.core.types import LoggedAnswer, Request
from vetrina.metrics.attribution import followed
from vetrina.pipeline.workshop import Workshop
from vetrina.serve.live import StoredChanges, StoredEvents
from vetrina.serve.testimony import Retold
from vetrina.store import eventlog

_MOST_DRAWN, _HOUR, _LATE = 20_000, 3_600.0, 3_600.0
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """One logged answer and what it takes to give it again."""

    row: Row
    request: Request
    context: Context


def asked_again(workshop: Workshop, rows: Sequence[Row]) -> Iterator[Asked]:
    """``rows`` are answers of the log with what was asked. What users did later is hidden; the catalogue is today's."""
    changes = StoredChanges(workshop.engine)
    changes.refresh()
    for row in rows:
        said = msgspec.json.decode(row["request"])
        ledger = Retold(said.pop("ledger", {}))
        lists = {n: tuple(said[n]) for n in ("product_ids", "facets") if n in said}
        request = Request(user=row["user"], session=row["session"], **{**said, **lists})
        events = StoredEvents(workshop.engine, workshop.shop.settings.weights, as_of=row["time"])
        yield Asked(row, request, Context(events, changes, row["time"], ledger, workshop.shop.settings.goals.of()))


def drawn_answers(workshop: Workshop, scenario: str, since: float, until: float) -> tuple[LoggedAnswer, ...]:
    """Answers in (since, until] whose places had a chance other than one, with what was clicked, as of then."""
    engine = workshop.engine
    total = sum(eventlog.answered(engine, scenario, since, until).values())
    below = eventlog.sample(_MOST_DRAWN / max(total, 1))
    rows: list[Row] = []
    clicks: dict[str, set[str]] = {}
    while since < until:  # by the hour: the log of a fortnight may be larger than memory
        end = min(since + _HOUR, until)
        shown = eventlog.shown(engine, scenario, since, end, items=True, below=below)
        drawn = [r for r in shown if any(i["propensity"] < 1.0 for i in r["items"])]
        if drawn:
            rows += drawn
            clicks |= _clicks(drawn, eventlog.happened(engine, since, end + _LATE))
        since = end
    return tuple(
        LoggedAnswer(
            asked.row["user"] or asked.row["session"] or asked.row["request_id"],
            asked.request,
            asked.context,
            tuple(i["product_id"] for i in asked.row["items"]),
            tuple(i["propensity"] for i in asked.row["items"]),
            tuple(i["product_id"] in clicks.get(asked.row["request_id"], ()) for i in asked.row["items"]),
        )
        for asked in asked_again(workshop, rows)
    )


def _clicks(rows: Sequence[Row], events: Sequence[Row]) -> dict[str, set[str]]:
    shown = {r["request_id"]: {i["product_id"] for i in r["items"]} for r in rows}
    found: dict[str, set[str]] = {}
    for event in events:
        if (request := followed(event, shown)) is not None:
            found.setdefault(request, set()).add(event["product_id"])
    return found


def overlap(workshop: Workshop, opened: Any, rows: Sequence[Row]) -> tuple[int, float]:
    """How many answers were given again by an opened version, and the mean share of the shown products that came again.

    Serving and this folding share their code; what differs is when and where it ran, so a share well below one is a skew: a
    worker that is behind, events that came late, a catalogue that changed.
    """
    shares = []
    for asked in asked_again(workshop, rows):
        shown = {i["product_id"] for i in asked.row["items"]}
        again = {i.product_id for i in opened.answer(asked.request, asked.context).items}
        if shown:
            shares.append(len(shown & again) / len(shown))
    return len(shares), sum(shares) / len(shares) if shares else 0.0
