"""What an exposure says of a ranking request and of its answer."""

from hashlib import blake2b

import msgspec

from vetrina.core.exposure import ExposedItem
from vetrina.core.types import Answer, RankedItem, Request
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
_SCORE_DIGITS = 4


def logged_parameters(request: Request, recorder: RecordingLedger | None) -> dict[str, object]:
    """The parameters that differ from their defaults, without user and session, and what the spend ledger output.

    Args:
        request: the request.
        recorder: the ledger that the answer was computed with, None where the scenario charges nobody.
    """
    parameters = _bounded(_changed_parameters(request))
    recording = recorder.recording() if recorder is not None else {}
    if recording:
        parameters[LEDGER] = recording
    return parameters


def _changed_parameters(request: Request) -> dict[str, object]:
    parameters: dict[str, object] = {}
    for name in _LOGGED_FIELDS:
        value = getattr(request, name)
        if value != getattr(_DEFAULTS, name):
            parameters[name] = value
    return parameters


def _bounded(parameters: dict[str, object]) -> dict[str, object]:
    """The parameters, the long ones replaced by their digest where the log would grow by more than its bound."""
    encoded = msgspec.json.encode(parameters)
    if len(encoded) <= _MAX_LOGGED_BYTES:
        return parameters
    bounded = {name: value for name, value in parameters.items() if name not in _LONG_FIELDS}
    bounded[OMITTED] = blake2b(encoded, digest_size=16).hexdigest()
    return bounded


def exposed_items(answer: Answer, offset: int) -> list[ExposedItem]:
    """One item of the log for each item of an answer that begins after ``offset`` others."""
    return [_exposed_item(item, position) for position, item in enumerate(answer.items, start=offset + 1)]


def _exposed_item(item: RankedItem, position: int) -> ExposedItem:
    score = round(item.score, _SCORE_DIGITS)
    ad = item.ad
    if ad is None:
        return ExposedItem(item.product_id, position, item.propensity, score, team=item.team)
    return ExposedItem(
        item.product_id,
        position,
        item.propensity,
        score,
        ad.ad_id,
        ad.campaign_id,
        ad.price,
        ad.click_chance,
        item.team,
    )
