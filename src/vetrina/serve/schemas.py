"""Request and response schemas of the HTTP API, with their limits.

Every number, text, list and object of a request has a bound, which the OpenAPI document states: ``core.limits`` holds the
figures. One rule for ids, in a body and in a path alike: 1 to 256 characters, none of them a control character. The bodies of
requests for ranked products are those of their scenarios (``scenarios/NAME/schema.py``).
"""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from vetrina.core import clock
from vetrina.core.errors import BadInput
from vetrina.core.filters import FILTERS_WAY_OUT
from vetrina.core.limits import (
    MAX_ATTRIBUTE_VALUES,
    MAX_ATTRIBUTES,
    MAX_COLUMNS,
    MAX_ID_CHARS,
    MAX_NUMBER,
    MAX_REFERENCE_CHARS,
    MAX_ROWS,
    MAX_SECONDS,
    MAX_VALUE_CHARS,
    NO_CONTROL_CHARACTER,
)
from vetrina.core.request_fields import (
    Id,
    Line,
    Money,
    Name,
    Position,
    Quantity,
    Query,
    Reference,
    Stock,
    Text,
    Title,
)

Body = TypeVar("Body")

MAX_EVENTS = 1_000  # of one request
MAX_PRODUCTS = 1_000  # of one request
_MAX_SEED_USERS = 100_000
_MAX_AUDIENCE = 1_000_000
_MAX_TIME_CHARS = 40

Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS)]
_TimeText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=_MAX_TIME_CHARS,
        pattern=NO_CONTROL_CHARACTER,
        extra_json_schema={"format": "date-time"},
    ),
]
Time = Seconds | _TimeText
PathId = Annotated[str, PathParameter(min_length=1, max_length=MAX_ID_CHARS, pattern=NO_CONTROL_CHARACTER)]
QueryId = Annotated[str, QueryParameter(min_length=1, max_length=MAX_ID_CHARS, pattern=NO_CONTROL_CHARACTER)]
PathReference = Annotated[
    str, PathParameter(min_length=1, max_length=MAX_REFERENCE_CHARS, pattern=NO_CONTROL_CHARACTER)
]

_ColumnName = Annotated[str, Meta(max_length=MAX_ID_CHARS, pattern=NO_CONTROL_CHARACTER)]
_Integer = Annotated[int, Meta(ge=-int(MAX_NUMBER), le=int(MAX_NUMBER))]
_Number = Annotated[float, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
# Without a pattern, too, for the union of text, lists and objects in ``Attributes``.
_ValueText = Annotated[str, Meta(max_length=MAX_VALUE_CHARS)]
Value = _Integer | _Number | _ValueText | bool | None
_ValueList = Annotated[list[Value], Meta(max_length=MAX_ATTRIBUTE_VALUES)]
_ValueObject = Annotated[dict[_ColumnName, Value], Meta(max_length=MAX_ATTRIBUTE_VALUES)]
Attributes = Annotated[dict[_ColumnName, Value | _ValueList | _ValueObject], Meta(max_length=MAX_ATTRIBUTES)]
Row = (
    Annotated[list[Value], Meta(max_length=MAX_COLUMNS)]
    | Annotated[dict[_ColumnName, Value], Meta(max_length=MAX_COLUMNS)]
)
_WAY_OUT = "/schema shows every field with its bounds"
_AT = " - at `$"  # before the path of a value in a message of msgspec
_MAX_FUTURE_SECONDS = 2 * clock.DAY  # how far the clock of a sender may be ahead


def parse_body(body: Any, schema: type[Body]) -> Body:
    """The decoded JSON of a request as a schema has it, its bounds kept and its types exact: 0 is not false.

    Raises:
        BadInput: names the field and its rule.
    """
    try:
        return msgspec.convert(body, schema)
    except msgspec.ValidationError as error:
        if _is_whole_float(body):
            return parse_body({name: _as_integer(value) for name, value in body.items()}, schema)
        rule, _, path = str(error).partition(_AT)
        field = path.strip(".`") or "the body"
        way_out = FILTERS_WAY_OUT if field.startswith("filters") else _WAY_OUT
        raise BadInput(field, rule, way_out) from None


def _is_whole_float(body: Any) -> bool:
    return isinstance(body, dict) and any(type(value) is float and value.is_integer() for value in body.values())


def _as_integer(value: Any) -> Any:
    """10 of 10.0, which are the same number in JSON."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value


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


class AudienceBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/audience: target users for a product, users similar to a list, or users of a segment."""

    product_id: Id | None = None
    size: Annotated[int, Meta(ge=1, le=_MAX_AUDIENCE)] = 100
    like: Annotated[list[Id], Meta(max_length=_MAX_SEED_USERS)] = []
    segment: Name = ""
    channel: Name = "csv"
    note: bool = False


class PredictBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/predict: one row or several; the values of a row in column order or by column name."""

    features: Row | None = None
    rows: Annotated[list[Row], Meta(min_length=1, max_length=MAX_ROWS)] | None = None


class RunBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/runs: the scenario to train and release."""

    scenario: Reference
    why: Line = "requested over HTTP"


class EventBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One event. ``timestamp``: seconds since 1970 or ISO 8601; now if left out."""

    user_id: Id
    type: Reference
    product_id: Id | None = None
    timestamp: Time | None = None
    session_id: Id | None = None
    query: Query | None = None
    position: Position | None = None
    quantity: Quantity | None = None
    price: Money | None = None
    value: Money | None = None
    request_id: Name | None = None
    event_id: Reference | None = None


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

    title: Title
    product_id: Id | None = None
    description: Text = ""
    category: Line = ""
    brand: Line = ""
    price: Money | None = None
    currency: Annotated[str, Meta(max_length=16, pattern=NO_CONTROL_CHARACTER)] = ""
    cost: Money | None = None
    stock: Stock | None = None
    image: Line = ""
    available_at: Time | None = None
    attributes: Attributes = {}


Products = Annotated[list[ProductBody], Meta(max_length=MAX_PRODUCTS)]


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


class Refusal(msgspec.Struct):
    """Why a request is refused, in one line: the value, the rule that it breaks, and the way out."""

    error: str
