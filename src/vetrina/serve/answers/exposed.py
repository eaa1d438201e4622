"""What an exposure says of a ranking request and of its answer."""

from hashlib import blake2b

import msgspec

from vetrina.core.exposures import LoggedItem, logged_item
from vetrina.core.types import Answer, Request
from vetrina.serve.recorded_context import LEDGER, OMITTED, RecordingLedger

_LOGGED_FIELDS = (
    "query",
    "product_ids",
    "placement",
    "filters",
    "sort",
    "offset",
    "limit",
    "personalise",
    "exclude_seen",
)
_DEFAULTS = Request()
_LONG_FIELDS = ("product_ids", "filters")  # the others are short
_MAX_LOGGED_BYTES = 8_192


def logged_request(request: Request, recorder: RecordingLedger | None) -> str:
    """The parameters that differ from their defaults, without user and session, and what the spend ledger output, as JSON.

    Args:
        request: the request.
        recorder: the ledger that the answer was computed with, None where the scenario charges nobody.
    """
    parameters = _changed_parameters(request)
    encoded = msgspec.json.encode(parameters)
    if len(encoded) > _MAX_LOGGED_BYTES:
        parameters = _without_long_fields(parameters, encoded)
        encoded = msgspec.json.encode(parameters)
    recording = recorder.recording() if recorder is not None else None
    if recording:
        encoded = msgspec.json.encode({**parameters, LEDGER: recording})
    return encoded.decode()


def _changed_parameters(request: Request) -> dict[str, object]:
    parameters: dict[str, object] = {}
    for name in _LOGGED_FIELDS:
        value = getattr(request, name)
        if value != getattr(_DEFAULTS, name):
            parameters[name] = value
    return parameters


def _without_long_fields(parameters: dict[str, object], encoded: bytes) -> dict[str, object]:
    """The parameters, the long ones replaced by the digest of all: the log would grow by more than its bound."""
    bounded = {name: value for name, value in parameters.items() if name not in _LONG_FIELDS}
    bounded[OMITTED] = blake2b(encoded, digest_size=16).hexdigest()
    return bounded


def logged_items(answer: Answer, offset: int) -> tuple[LoggedItem, ...]:
    """The items of an answer that begins after ``offset`` others, as they are logged."""
    return tuple([logged_item(item, position) for position, item in enumerate(answer.items, start=offset + 1)])
