"""Replay of logged requests with the context of their time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from vetrina.core.errors import BadInput
from vetrina.core.filters import parse_filters
from vetrina.core.protocols import Context
from vetrina.core.types import LoggedAnswer, Request
from vetrina.evaluation.attribution import attributed_request
from vetrina.pipeline.shop_context import ShopContext
from vetrina.serve.live_state import StoredChanges, StoredEvents
from vetrina.serve.recorded_context import OMITTED, ReplayLedger
from vetrina.store import event_log

_MAX_EXPLORED_ANSWERS = 20_000
_HOUR_SECONDS = 3_600.0
_MAX_CLICK_DELAY_SECONDS = 3_600.0
_TUPLE_FIELDS = ("product_ids", "facets")  # of a request; JSON has them as lists
LogRow = Mapping[str, Any]


@dataclass(frozen=True)
class ReplayedRequest:
    """A row of the log, with its request and the context of its time."""

    row: LogRow
    request: Request
    context: Context


def replay_requests(shop_context: ShopContext, rows: Sequence[LogRow]) -> Iterator[ReplayedRequest]:
    """Requests of logged answers, as of their time. Later events of the users are hidden; the catalogue is today's.

    A request whose log is not whole, or whose filters are of an earlier version and no longer understood, is left out.
    """
    changes = StoredChanges(shop_context.engine)
    changes.refresh()
    settings = shop_context.folder.settings
    for row in rows:
        fields = msgspec.json.decode(row["request"])
        ledger = ReplayLedger(fields.pop("ledger", {}))
        request = _parse_request(row, fields)
        if request is None:
            continue
        events = StoredEvents(shop_context.engine, settings.weights, as_of=row["time"])
        context = Context(events, changes, row["time"], ledger, settings.goals.to_dict())
        yield ReplayedRequest(row, request, context)


def _parse_request(row: LogRow, fields: dict[str, Any]) -> Request | None:
    if OMITTED in fields:
        return None
    for name in _TUPLE_FIELDS:
        if name in fields:
            fields[name] = tuple(fields[name])
    try:
        filters = parse_filters(fields.pop("filters", {}))
    except BadInput:
        return None
    return Request(user=row["user"], session=row["session"], filters=filters, **fields)


def explored_answers(shop_context: ShopContext, scenario: str, since: float, until: float) -> tuple[LoggedAnswer, ...]:
    """Randomised answers with their propensities and clicks.

    Args:
        shop_context: The shop.
        scenario: Scenario that ranks products.
        since: Answers after this moment, seconds since 1970.
        until: Answers until this moment.
    """
    engine = shop_context.engine
    n_answers = sum(event_log.count_answers(engine, scenario, since, until).values())
    sample_bound = event_log.sample_bound(_MAX_EXPLORED_ANSWERS / max(n_answers, 1))
    rows: list[LogRow] = []
    clicks: dict[str, set[str]] = {}
    while since < until:  # by the hour: the log of a fortnight may be larger than memory
        end = min(since + _HOUR_SECONDS, until)
        answers = event_log.list_answers(engine, scenario, since, end, with_items=True, sample_bound=sample_bound)
        randomised = [answer for answer in answers if _is_randomised(answer)]
        if randomised:
            rows += randomised
            events = event_log.list_events(engine, since, end + _MAX_CLICK_DELAY_SECONDS)
            clicks |= _clicked_products(randomised, events)
        since = end
    return tuple(_logged_answer(replayed, clicks) for replayed in replay_requests(shop_context, rows))


def replay_overlap(shop_context: ShopContext, loaded_bundle: Any, rows: Sequence[LogRow]) -> tuple[int, float]:
    """How many logged answers were replayed, and the mean share of their products that the replay gives again.

    Serving and replay share their code and differ in when and where it runs. A share well below one is skew: a worker that is
    behind, events that came late, a catalogue that changed.

    Args:
        shop_context: The shop.
        loaded_bundle: The version that gave the answers, opened for serving.
        rows: Logged answers with their items.
    """
    shares = []
    for replayed in replay_requests(shop_context, rows):
        answer = loaded_bundle.answer(replayed.request, replayed.context)
        shown = {item["product_id"] for item in replayed.row["items"]}
        repeated = {item.product_id for item in answer.items}
        if shown:
            shares.append(len(shown & repeated) / len(shown))
    if not shares:
        return 0, 0.0
    return len(shares), sum(shares) / len(shares)


def _is_randomised(answer: LogRow) -> bool:
    return any(item["propensity"] < 1.0 for item in answer["items"])


def _logged_answer(replayed: ReplayedRequest, clicks: Mapping[str, set[str]]) -> LoggedAnswer:
    row = replayed.row
    items = row["items"]
    clicked_products = clicks.get(row["request_id"], set())
    return LoggedAnswer(
        row["user"] or row["session"] or row["request_id"],
        replayed.request,
        replayed.context,
        products=tuple(item["product_id"] for item in items),
        propensities=tuple(item["propensity"] for item in items),
        clicked=tuple(item["product_id"] in clicked_products for item in items),
    )


def _clicked_products(answers: Sequence[LogRow], events: Sequence[LogRow]) -> dict[str, set[str]]:
    """Clicked products of answers, by request id."""
    shown = {}
    for answer in answers:
        shown[answer["request_id"]] = {item["product_id"] for item in answer["items"]}
    clicked: dict[str, set[str]] = {}
    for event in events:
        request_id = attributed_request(event, shown)
        if request_id is not None:
            clicked.setdefault(request_id, set()).add(event["product_id"])
    return clicked
