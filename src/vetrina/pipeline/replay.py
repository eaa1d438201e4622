"""Asks again what shoppers asked, as of the moment when they asked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from vetrina.core.protocols import Context
from vetrina.core.types import Request
from vetrina.pipeline.workshop import Workshop
from vetrina.serve.live import StoredChanges, StoredEvents

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
        lists = {n: tuple(said[n]) for n in ("product_ids", "facets") if n in said}
        request = Request(user=row["user"], session=row["session"], **{**said, **lists})
        events = StoredEvents(workshop.engine, workshop.shop.settings.weights, as_of=row["time"])
        yield Asked(row, request, Context(events, changes, row["time"]))


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
