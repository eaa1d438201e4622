"""Routes for events and products."""

import asyncio
import time
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, SkipValidation

from vetrina.core.errors import BadInput, Conflict, NotFound, Overloaded
from vetrina.scenarios.base import RankingBundle
from vetrina.serve.auth import has_token, require_token
from vetrina.serve.event_decoding import Sender, anonymous_sender, decode_events, known_sender
from vetrina.serve.http.client_address import client_address
from vetrina.serve.http.protocol import MAX_EVENT_REQUESTS
from vetrina.serve.schemas import (
    MAX_EVENTS,
    EventBody,
    EventsOut,
    PathId,
    ProductBody,
    Products,
    QueryId,
    RefusedEvent,
    parse_body,
    parse_time,
)
from vetrina.serve.service import Service
from vetrina.store import products
from vetrina.store.event_log import AddedEvents, Event, Outcome

_INTERNAL_FIELDS = frozenset({"cost", "stock"})  # of a product
_WRITE_SECONDS = 5.0  # that a request waits for that
_RETRY_SECONDS = 1.0
_REFUSED = 400
_CONFLICT = 409
_REFUSAL_BY_OUTCOME = {
    Outcome.CONFLICT: (_CONFLICT, "event_id: its user has sent another event with it; give every event its own"),
    Outcome.REFUSED: (_REFUSED, "the event: the store cannot hold it; check its ids and its text"),
}


@post(
    "/v1/events",
    status_code=202,
    responses={
        207: ResponseSpec(EventsOut, description="some events were refused, the others are on disk"),
        409: ResponseSpec(dict[str, Any], description="the user has sent another event with this event_id"),
    },
)
async def events(
    data: SkipValidation[JSONBody[EventBody | list[EventBody]]], state: State, request: Request[Any, Any, Any]
) -> Response[Any]:
    """One event or up to 1,000; answered once all are on disk.

    Of a batch the good ones are taken: 202 if all are, 207 if some are refused, 400 if all are. Each refused one is named with
    its index and the rule that it breaks.
    """
    service: Service = state.service
    sender = _sender_of(request, service)
    batch = data if isinstance(data, list) else [data]
    if not 0 < len(batch) <= MAX_EVENTS:
        raise BadInput(f"{len(batch)} events", f"are not between 1 and {MAX_EVENTS}", "send them in parts")
    answer = await _add_events(batch, service, sender)
    if not answer.refused:
        return Response(answer, status_code=202)
    if answer.accepted:
        return Response(answer, status_code=207)
    first = answer.refused[0]
    status = _REFUSED if isinstance(data, list) else first.status
    service.metrics.count_error(status)
    return Response({"error": first.error, **msgspec.to_builtins(answer)}, status_code=status)


async def _add_events(batch: list[Any], service: Service, sender: Sender) -> EventsOut:
    """Log the events of a batch that keep the rules; returns once they are on disk."""
    decoded = decode_events(batch, service.keys, sender)
    refused = [RefusedEvent(index, _REFUSED, error) for index, error in decoded.refusals.items()]
    n_new = 0
    if decoded.events:
        added = await _written(service, decoded.events)
        n_new = added.n_new
        for index, outcome in zip(decoded.positions, added.outcomes, strict=True):
            if outcome in _REFUSAL_BY_OUTCOME:
                refused.append(RefusedEvent(index, *_REFUSAL_BY_OUTCOME[outcome]))
    service.metrics.events.inc(n_new)
    for event in refused:
        service.metrics.refused_events.labels(str(event.status)).inc()
    refused.sort(key=lambda event: event.index)
    return EventsOut(len(batch) - len(refused), n_new, refused)


async def _written(service: Service, batch: list[Event]) -> AddedEvents:
    """What became of events, once they are on disk.

    Raises:
        Overloaded: The store takes them neither now nor within a time. Waiting requests leave room for those that need no store.
    """
    if service.n_waiting_event_requests >= MAX_EVENT_REQUESTS:
        raise _try_again("too many wait to be written")
    service.n_waiting_event_requests += 1
    started = time.perf_counter()
    try:
        async with asyncio.timeout(_WRITE_SECONDS):
            added = await asyncio.wrap_future(service.event_log.add(batch))
    except TimeoutError:
        raise _try_again(f"were not written within {_WRITE_SECONDS:.0f} s") from None
    finally:
        service.n_waiting_event_requests -= 1
    service.metrics.event_write_seconds.observe(time.perf_counter() - started)
    return added


def _try_again(rule: str) -> Overloaded:
    error = Overloaded("events", rule, "send them again, with the same event_id")
    error.ready_in_seconds = _RETRY_SECONDS
    return error


def _sender_of(request: Request[Any, Any, Any], service: Service) -> Sender:
    if has_token(request):
        return known_sender()
    return anonymous_sender(service.keys, client_address(request))


@get("/v1/products/{product_id:str}", sync_to_thread=False)
def get_product(product_id: PathId, state: State) -> dict[str, Any]:
    """A product as it was put after training, or its id and title in the catalogue of a served bundle."""
    return _public_fields(state.service, product_id)


@get("/v1/products", sync_to_thread=False)
def get_product_by_query(product_id: QueryId, state: State) -> dict[str, Any]:
    """The same for any id: one that holds a slash is no part of a path."""
    return _public_fields(state.service, product_id)


def _public_fields(service: Service, product_id: str) -> dict[str, Any]:
    """What anybody may know of a product: not what the shop paid for it, nor how many it has."""
    changes = service.catalogue_changes.changes_after(0)
    if product_id in changes.changed_products:
        product = changes.changed_products[product_id]
        return {name: value for name, value in product.items() if name not in _INTERNAL_FIELDS}
    if product_id not in changes.deleted_ids:
        for scenario in service.champions.all():
            bundle = service.champions.get(scenario).loaded_bundle
            if not isinstance(bundle, RankingBundle):
                continue
            index = int(bundle.catalogue.index_of([product_id])[0])
            if index >= 0:
                return {"product_id": product_id, "title": bundle.catalogue.title(index)}
    raise NotFound(product_id, "is no product of this shop", "PUT it first")


@put("/v1/products/{product_id:str}", guards=[require_token])
async def put_product(product_id: PathId, data: SkipValidation[JSONBody[ProductBody]], state: State) -> dict[str, str]:
    """Add or replace a product; searchable within a second."""
    product = parse_body(data, ProductBody)
    if product.product_id not in (None, product_id):
        raise Conflict(str(product.product_id), f"is not {product_id}, the id in the path", "send one id")
    row = {**_product_row(product), "product_id": product_id}
    await asyncio.to_thread(products.append_products, state.service.engine, [row])
    return {"product_id": product_id}


@post("/v1/products", status_code=200, guards=[require_token])
async def put_products(data: SkipValidation[JSONBody[list[ProductBody]]], state: State) -> dict[str, int]:
    """Add or replace many products, all or none."""
    # An annotated list is a schema, too.
    batch: list[ProductBody] = parse_body(data, Products)  # pyright: ignore[reportArgumentType]
    for index, product in enumerate(batch):
        if not product.product_id:
            raise BadInput(f"product {index}", "has no product_id", "give every product its id")
    rows = [_product_row(product) for product in batch]
    await asyncio.to_thread(products.append_products, state.service.engine, rows)
    return {"accepted": len(batch)}


@delete("/v1/products/{product_id:str}", status_code=200, guards=[require_token], sync_to_thread=True)
def delete_product(product_id: PathId, state: State) -> dict[str, str]:
    """Delete a product; no answer returns it, from within a second on."""
    products.append_deletion(state.service.engine, product_id)
    return {"product_id": product_id}


@delete("/v1/products", status_code=200, guards=[require_token], sync_to_thread=True)
def delete_product_by_query(product_id: QueryId, state: State) -> dict[str, str]:
    """The same for any id: one that holds a slash is no part of a path."""
    products.append_deletion(state.service.engine, product_id)
    return {"product_id": product_id}


def _product_row(product: ProductBody) -> dict[str, Any]:
    """The product as the product log stores it: seconds since 1970, attributes as sorted JSON."""
    row = msgspec.to_builtins(product)
    if product.available_at is not None:
        row["available_at"] = parse_time(product.available_at)
    if product.attributes:
        row["attributes"] = msgspec.json.encode(product.attributes, order="sorted").decode()
    return row


ROUTES = (events, get_product, get_product_by_query, put_product, put_products, delete_product, delete_product_by_query)
