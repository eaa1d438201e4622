"""Decoding of events that arrive over HTTP: their schema, whose clock counts, and who sent them.

Each event of a batch is decoded by itself, so that a bad one is refused alone. Events with the token come from the shop's own
servers, which may report what happened in the past. For all others the server's clock counts once theirs is off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from uuid import uuid4

import msgspec

from vetrina.core import clock
from vetrina.core.errors import BadInput
from vetrina.core.keys import Keys
from vetrina.serve.schemas import EventBody, parse_body, parse_past_time
from vetrina.store.event_log import ANONYMOUS, SERVER, Event

MAX_CLOCK_ERROR_SECONDS = 600.0  # of an anonymous sender; beyond, the time of arrival is taken


@dataclass(frozen=True)
class Sender:
    """Who sent a request: ``SERVER`` with the token, else ``ANONYMOUS`` with the pseudonym of the address."""

    source: str
    address: str | None = None


@dataclass
class DecodedEvents:
    """The events of a batch that keep the rules, with their positions in it, and why each of the others was refused."""

    events: list[Event] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    refusals: dict[int, str] = field(default_factory=dict)


def known_sender() -> Sender:
    """A server of the shop."""
    return Sender(SERVER)


def anonymous_sender(keys: Keys, address: str) -> Sender:
    """Anybody else, from a network address. The pseudonym is one of today (UTC)."""
    day = int(clock.now() // clock.DAY)
    return Sender(ANONYMOUS, keys.name_of_address(address, day))


def decode_events(batch: Sequence[Any], keys: Keys, sender: Sender) -> DecodedEvents:
    """Events of a request under pseudonyms.

    Args:
        batch: JSON values.
        keys: The shop's keys.
        sender: Who sent them.
    """
    decoded = DecodedEvents()
    for position, value in enumerate(batch):
        try:
            event = to_event(parse_body(value, EventBody), keys, sender)
        except BadInput as error:
            decoded.refusals[position] = str(error)
        else:
            decoded.events.append(event)
            decoded.positions.append(position)
    return decoded


def to_event(body: EventBody, keys: Keys, sender: Sender) -> Event:
    """A valid event under pseudonyms.

    Args:
        body: The event.
        keys: The shop's keys.
        sender: Who sent it.

    Raises:
        BadInput: Its time cannot be read or is out of bounds.
    """
    now = clock.now()
    sent_time = parse_past_time(body.timestamp)
    time = sent_time
    if sender.source == ANONYMOUS and abs(sent_time - now) > MAX_CLOCK_ERROR_SECONDS:
        time = round(now, 6)  # the lake stores microseconds
    user = keys.pseudonymise(body.user_id)
    content = keys.pseudonymised(msgspec.to_builtins(body))
    event_id = content.pop("event_id", None)
    for name in ("user_id", "timestamp"):
        content.pop(name, None)
    text = msgspec.json.encode(content, order="sorted").decode()
    if event_id is None and body.timestamp is None:
        event_id = uuid4().hex  # without a time every event is an event of its own
    elif event_id is None:
        event_id = _digest(f"{user}{sent_time}{text}")  # equal content at an equal time is the same event
    sealed_id = keys.seal(body.user_id)
    return Event(event_id, user, content.get("session_id"), time, text, sealed_id, sender.source, sender.address)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
