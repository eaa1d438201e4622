"""Request and response schemas of the HTTP API, with their limits."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from vetrina.core import clock
from vetrina.core.errors import BadInput

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Limit = Annotated[int, Meta(ge=1, le=200)]
Offset = Annotated[int, Meta(ge=0, le=10_000)]
_MAX_FUTURE_SECONDS = 2 * clock.DAY  # how far the clock of a sender may be ahead


def parse_time(value: float | str | None) -> float:
    """Seconds since 1970.

    Args:
        value: seconds since 1970, or ISO 8601 (UTC if it names no zone); None for now.

    Raises:
        BadInput: the text is not ISO 8601.
    """
    if value is None:
        return clock.now()
    if not isinstance(value, str):
        return float(value)
    try:
        parsed = datetime.fromisoformat(value)
        if not parsed.tzinfo:
            parsed = parsed.replace(tzinfo=UTC)
        return float(parsed.timestamp())
    except ValueError:
        raise BadInput(f"time {value!r}", "cannot be read", "give seconds since 1970 or ISO 8601") from None


def parse_past_time(value: float | str | None) -> float:
    """Seconds since 1970 of something that has happened: not before 1970, not more than two days ahead.

    Raises:
        BadInput: it cannot be read or is out of these bounds.
    """
    moment = parse_time(value)
    if not 0 <= moment <= clock.now() + _MAX_FUTURE_SECONDS:
        raise BadInput(f"timestamp {value}", "lies before 1970 or more than two days ahead", "check the sender's clock")
    return round(moment, 6)  # the lake stores microseconds, and serving must compute with the very same times


class SearchBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/search: a query with its filters, facets and sort order."""

    query: Annotated[str, Meta(min_length=1, max_length=512)]
    user_id: Id | None = None
    session_id: Id | None = None
    filters: dict[str, Any] = {}
    facets: list[str] = []
    sort: str = ""
    offset: Offset = 0
    limit: Limit = 10
    personalise: bool = True
    explain: bool = False


class RecommendBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/recommend: the user or session, and the placement on the page."""

    user_id: Id | None = None
    session_id: Id | None = None
    product_ids: Annotated[list[Id], Meta(max_length=200)] = []
    placement: str = "home"
    filters: dict[str, Any] = {}
    limit: Limit = 10
    exclude_seen: bool | None = None
    explain: bool = False


class AdsBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/ads: the user, the page, and its number of ad slots."""

    user_id: Id | None = None
    session_id: Id | None = None
    query: Annotated[str, Meta(max_length=512)] = ""
    product_ids: Annotated[list[Id], Meta(max_length=200)] = []
    placement: Annotated[str, Meta(max_length=64)] = "home"
    filters: dict[str, Any] = {}
    slots: Annotated[int, Meta(ge=1, le=50)] = 1
    explain: bool = False


class AudienceBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/audience: target users for a product, users similar to a list, or users of a segment."""

    product_id: Id | None = None
    size: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    like: Annotated[list[Id], Meta(max_length=100_000)] = []
    segment: Annotated[str, Meta(max_length=32)] = ""
    channel: Annotated[str, Meta(max_length=16)] = "csv"
    note: bool = False


class PredictBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/predict: one row or several; the values of a row in column order or by column name."""

    features: list[Any] | dict[str, Any] | None = None
    rows: Annotated[list[list[Any] | dict[str, Any]], Meta(max_length=1_000)] | None = None


class RunBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/runs: the scenario to train and release."""

    scenario: Annotated[str, Meta(min_length=1, max_length=32)]
    why: Annotated[str, Meta(max_length=500)] = "requested over HTTP"


class EventBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One event. ``timestamp``: seconds since 1970 or ISO 8601; now if left out."""

    user_id: Id
    type: Annotated[str, Meta(min_length=1, max_length=64)]
    product_id: Id | None = None
    timestamp: float | str | None = None
    session_id: Id | None = None
    query: Annotated[str, Meta(max_length=512)] | None = None
    position: int | None = None
    quantity: float | None = None
    price: float | None = None
    value: float | None = None
    request_id: Annotated[str, Meta(max_length=64)] | None = None
    event_id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class RefusedEvent(msgspec.Struct):
    """An event of a batch that was refused: its index from 0, the status it would have had alone, and the rule it breaks."""

    index: int
    status: int
    error: str


class EventsOut(msgspec.Struct, omit_defaults=True):
    """How many events were accepted, how many of them were new, and the others."""

    accepted: int
    new: int
    refused: list[RefusedEvent] = []


class ProductBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A product with its text, price and stock."""

    title: Annotated[str, Meta(min_length=1, max_length=2_000)]
    product_id: Id | None = None
    description: str = ""
    category: Annotated[str, Meta(max_length=2_000)] = ""
    brand: Annotated[str, Meta(max_length=2_000)] = ""
    price: Annotated[float, Meta(ge=0)] | None = None
    currency: Annotated[str, Meta(max_length=16)] = ""
    cost: float | None = None
    stock: float | None = None
    image: Annotated[str, Meta(max_length=2_000)] = ""
    available_at: float | str | None = None
    attributes: dict[str, Any] = {}


class ItemOut(msgspec.Struct, omit_defaults=True):
    """One item of a ranked answer."""

    product_id: str
    title: str
    score: float
    reasons: list[str] = []
    ad_id: str = ""


class RankedOut(msgspec.Struct, omit_defaults=True):
    """A ranked answer; later events refer to it by ``request_id``."""

    request_id: str
    version: str
    items: list[ItemOut]
    total: int
    facets: dict[str, dict[str, int]] = {}
