"""Replay of logged requests with the context of their time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from vetrina.core.errors import BadInput
from vetrina.core.exposures import Exposure
from vetrina.core.filters import parse_filters
from vetrina.core.logged_events import LoggedEvent
from vetrina.core.protocols import Context
from vetrina.core.types import LoggedAnswer, Request
from vetrina.evaluation.attribution import attributed_request
from vetrina.pipeline.shop_context import ShopContext
from vetrina.serve.live_state import StoredChanges, StoredEvents
from vetrina.serve.recorded_context import LEDGER, OMITTED, ReplayLedger
from vetrina.store import event_queries, exposure_queries

_MAX_EXPLORED_ANSWERS = 20_000
_HOUR_SECONDS = 3_600.0
_MAX_CLICK_DELAY_SECONDS = 3_600.0
_TUPLE_FIELDS = ("product_ids", "facets")  # of a request; JSON has them as lists


@dataclass(frozen=True)
class ReplayedRequest:
    """A logged answer, with its request and the context of its time."""

    exposure: Exposure
    request: Request
    context: Context


def replay_requests(shop_context: ShopContext, exposures: Sequence[Exposure]) -> Iterator[ReplayedRequest]:
    """Requests of logged answers, as of their time. Later events of the users are hidden; the catalogue is today's.

    A request whose log is not whole, or whose filters are of an earlier version and no longer understood, is left out.
    """
    changes = StoredChanges(shop_context.engine)
    changes.refresh()
    settings = shop_context.folder.settings
    for exposure in exposures:
        fields = msgspec.json.decode(exposure.request_json)
        ledger = ReplayLedger(fields.pop(LEDGER, {}))
        request = _parse_request(exposure, fields)
        if request is None:
            continue
        events = StoredEvents(shop_context.engine, settings.weights, as_of=exposure.time)
        context = Context(events, changes, exposure.time, ledger, settings.goals.to_dict())
        yield ReplayedRequest(exposure, request, context)


def _parse_request(exposure: Exposure, fields: dict[str, Any]) -> Request | None:
    if OMITTED in fields:
        return None
    for name in _TUPLE_FIELDS:
        if name in fields:
            fields[name] = tuple(fields[name])
    try:
        filters = parse_filters(fields.pop("filters", {}))
    except BadInput:
        return None
    return Request(user=exposure.user, session=exposure.session, filters=filters, **fields)


def explored_answers(shop_context: ShopContext, scenario: str, since: float, until: float) -> tuple[LoggedAnswer, ...]:
    """Randomised answers with their propensities and clicks.

    Args:
        shop_context: The shop.
        scenario: Scenario that ranks products.
        since: Answers after this moment, seconds since 1970.
        until: Answers until this moment.
    """
    engine = shop_context.engine
    n_answers = sum(exposure_queries.count_exposures(engine, scenario, since, until).values())
    sample_bound = exposure_queries.sample_bound(_MAX_EXPLORED_ANSWERS / max(n_answers, 1))
    all_randomised: list[Exposure] = []
    clicks: dict[str, set[str]] = {}
    while since < until:  # by the hour: the log of a fortnight may be larger than memory
        end = min(since + _HOUR_SECONDS, until)
        exposures = exposure_queries.list_exposures(
            engine, scenario, since, end, with_items=True, sample_bound=sample_bound
        )
        randomised = [exposure for exposure in exposures if _is_randomised(exposure)]
        if randomised:
            all_randomised += randomised
            events = event_queries.list_events(engine, since, end + _MAX_CLICK_DELAY_SECONDS)
            clicks |= _clicked_products(randomised, events)
        since = end
    return tuple(_logged_answer(replayed, clicks) for replayed in replay_requests(shop_context, all_randomised))


def replay_overlap(shop_context: ShopContext, loaded_bundle: Any, exposures: Sequence[Exposure]) -> tuple[int, float]:
    """How many logged answers were replayed, and the mean share of their products that the replay gives again.

    Serving and replay share their code and differ in when and where it runs. A share well below one is skew: a worker that is
    behind, events that came late, a catalogue that changed.

    Args:
        shop_context: The shop.
        loaded_bundle: The version that gave the answers, opened for serving.
        exposures: Logged answers with their items.
    """
    shares = []
    for replayed in replay_requests(shop_context, exposures):
        answer = loaded_bundle.answer(replayed.request, replayed.context)
        logged_products = replayed.exposure.product_ids
        replayed_products = {item.product_id for item in answer.items}
        if logged_products:
            shares.append(len(logged_products & replayed_products) / len(logged_products))
    if not shares:
        return 0, 0.0
    return len(shares), sum(shares) / len(shares)


def _is_randomised(exposure: Exposure) -> bool:
    return any(item.propensity < 1.0 for item in exposure.items)


def _logged_answer(replayed: ReplayedRequest, clicks: Mapping[str, set[str]]) -> LoggedAnswer:
    exposure = replayed.exposure
    clicked_products = clicks.get(exposure.request_id, set())
    return LoggedAnswer(
        exposure.unit or exposure.request_id,
        replayed.request,
        replayed.context,
        products=tuple(item.product_id for item in exposure.items),
        propensities=tuple(item.propensity for item in exposure.items),
        clicked=tuple(item.product_id in clicked_products for item in exposure.items),
    )


def _clicked_products(exposures: Sequence[Exposure], events: Sequence[LoggedEvent]) -> dict[str, set[str]]:
    """Clicked products of answers, by request id."""
    products_by_request = {exposure.request_id: exposure.product_ids for exposure in exposures}
    clicked: dict[str, set[str]] = {}
    for event in events:
        request_id = attributed_request(event, products_by_request)
        if request_id is not None and event.product_id is not None:
            clicked.setdefault(request_id, set()).add(event.product_id)
    return clicked
