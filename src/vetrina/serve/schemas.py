"""What goes over the wire, with its limits."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from vetrina.core import clock
from vetrina.core.errors import BadInput

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Limit = Annotated[int, Meta(ge=1, le=200)]
Offset = Annotated[int, Meta(ge=0, le=10_000)]
_MAX_FUTURE_SECONDS = 2 * clock.DAY


def parse_time(value: float | str | None) -> float:
    """Seconds since 1970 of a number or of ISO 8601 (UTC if it names no zone); now if left out. Raises BadInput."""
    if value is None:
        return clock.now()
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value)
            value = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        raise BadInput(f"time {value!r}", "cannot be read", "give seconds since 1970 or ISO 8601") from None
    return float(value)


def parse_past_time(value: float | str | None) -> float:
    """The same for what has happened: not before 1970, not more than two days ahead."""
    found = parse_time(value)
    if not 0 <= found <= clock.now() + _MAX_FUTURE_SECONDS:
        raise BadInput(f"timestamp {value}", "lies before 1970 or more than two days ahead", "check the sender's clock")
    return round(found, 6)  # the lake keeps microseconds: what serving folds must be equal to the bit


class SearchBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/search."""

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
    """POST /v1/recommend."""

    user_id: Id | None = None
    session_id: Id | None = None
    product_ids: Annotated[list[Id], Meta(max_length=200)] = []
    placement: str = "home"
    filters: dict[str, Any] = {}
    limit: Limit = 10
    exclude_seen: bool | None = None
    explain: bool = False


class AdsBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/ads: who looks at which page, and how many places it has."""

    user_id: Id | None = None
    session_id: Id | None = None
    query: Annotated[str, Meta(max_length=512)] = ""
    product_ids: Annotated[list[Id], Meta(max_length=200)] = []
    placement: Annotated[str, Meta(max_length=64)] = "home"
    filters: dict[str, Any] = {}
    slots: Annotated[int, Meta(ge=1, le=50)] = 1
    explain: bool = False


class AudienceBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/audience: for a product, like some users, or of a segment."""

    product_id: Id | None = None
    size: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    like: Annotated[list[Id], Meta(max_length=100_000)] = []
    segment: Annotated[str, Meta(max_length=32)] = ""
    channel: Annotated[str, Meta(max_length=16)] = "csv"
    note: bool = False


class PredictBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/predict: one row or several, each in column order or by name."""

    features: list[Any] | dict[str, Any] | None = None
    rows: Annotated[list[list[Any] | dict[str, Any]], Meta(max_length=1_000)] | None = None


class RunBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/runs."""

    scenario: Annotated[str, Meta(min_length=1, max_length=32)]
    why: Annotated[str, Meta(max_length=500)] = "asked over HTTP"


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


class ProductBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A product as the shop knows it."""

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
    """One place of an answer."""

    product_id: str
    title: str
    score: float
    reasons: list[str] = []
    ad_id: str = ""


class RankedOut(msgspec.Struct, omit_defaults=True):
    """A ranked answer; ``request_id`` joins later events to it."""

    request_id: str
    version: str
    items: list[ItemOut]
    total: int
    facets: dict[str, dict[str, int]] = {}
