"""Asks again what shoppers asked, as of the moment when they asked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from vetrina.core.protocols import Context
from vetrina.core.types import LoggedAnswer, Request
from vetrina.metrics.attribution import attributed_request
from vetrina.pipeline.shop_context import ShopContext
from vetrina.serve.live_state import StoredChanges, StoredEvents
from vetrina.serve.recorded_context import ReplayLedger
from vetrina.store import event_log

_MAX_EXPLORED_ANSWERS = 20_000
_HOUR_SECONDS = 3_600.0
_MAX_CLICK_DELAY_SECONDS = 3_600.0
LogRow = Mapping[str, Any]


@dataclass(frozen=True)
class ReplayedRequest:
    """One logged answer and what it takes to give it again."""

    row: LogRow
    request: Request
    context: Context


def replay_requests(shop_context: ShopContext, rows: Sequence[LogRow]) -> Iterator[ReplayedRequest]:
    """``rows`` are answers of the log with what was asked. What users did later is hidden; the catalogue is today's."""
    changes = StoredChanges(shop_context.engine)
    changes.refresh()
    for row in rows:
        said = msgspec.json.decode(row["request"])
        ledger = ReplayLedger(said.pop("ledger", {}))
        lists = {n: tuple(said[n]) for n in ("product_ids", "facets") if n in said}
        request = Request(user=row["user"], session=row["session"], **{**said, **lists})
        events = StoredEvents(shop_context.engine, shop_context.folder.settings.weights, as_of=row["time"])
        yield ReplayedRequest(
            row, request, Context(events, changes, row["time"], ledger, shop_context.folder.settings.goals.to_dict())
        )


def explored_answers(shop_context: ShopContext, scenario: str, since: float, until: float) -> tuple[LoggedAnswer, ...]:
    """Answers in (since, until] whose places had a chance other than one, with what was clicked, as of then."""
    engine = shop_context.engine
    total = sum(event_log.count_answers(engine, scenario, since, until).values())
    below = event_log.sample_bound(_MAX_EXPLORED_ANSWERS / max(total, 1))
    rows: list[LogRow] = []
    clicks: dict[str, set[str]] = {}
    while since < until:  # by the hour: the log of a fortnight may be larger than memory
        end = min(since + _HOUR_SECONDS, until)
        shown = event_log.list_answers(engine, scenario, since, end, with_items=True, sample_bound=below)
        drawn = [r for r in shown if any(i["propensity"] < 1.0 for i in r["items"])]
        if drawn:
            rows += drawn
            clicks |= _clicked_products(drawn, event_log.list_events(engine, since, end + _MAX_CLICK_DELAY_SECONDS))
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
        for asked in replay_requests(shop_context, rows)
    )


def _clicked_products(rows: Sequence[LogRow], events: Sequence[LogRow]) -> dict[str, set[str]]:
    shown = {r["request_id"]: {i["product_id"] for i in r["items"]} for r in rows}
    found: dict[str, set[str]] = {}
    for event in events:
        if (request := attributed_request(event, shown)) is not None:
            found.setdefault(request, set()).add(event["product_id"])
    return found


def replay_overlap(shop_context: ShopContext, loaded_bundle: Any, rows: Sequence[LogRow]) -> tuple[int, float]:
    """How many answers were given again by an opened version, and the mean share of the shown products that came again.

    Serving and this folding share their code; what differs is when and where it ran, so a share well below one is a skew: a
    worker that is behind, events that came late, a catalogue that changed.
    """
    shares = []
    for asked in replay_requests(shop_context, rows):
        shown = {i["product_id"] for i in asked.row["items"]}
        again = {i.product_id for i in loaded_bundle.answer(asked.request, asked.context).items}
        if shown:
            shares.append(len(shown & again) / len(shown))
    return len(shares), sum(shares) / len(shares) if shares else 0.0
