"""Finds an audience and hands it over: consent and rest are looked up at the moment of asking, ids are unsealed last."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vetrina.core import clock
from vetrina.core.errors import BadInput
from vetrina.core.protocols import Context
from vetrina.core.types import AudienceRequest
from vetrina.security.keys import Keys
from vetrina.store import contacts

CHANNELS = ("csv", "email", "push", "social", "webhook")


@dataclass(frozen=True)
class Recipient:
    """A person of an audience, by their own name: only for the channel that reaches them."""

    user_id: str
    email: str | None
    score: float
    reason: str


@dataclass(frozen=True)
class RecipientList:
    """``total`` counts all who might be told."""

    recipients: tuple[Recipient, ...]
    total: int


def find_recipients(
    selector: Any, engine: Any, keys: Keys, context: Context, channel: str = "csv", note: bool = False, **call: Any
) -> RecipientList:
    """The audience of a call (fields of ``core.types.Call``; users of ``like`` by their own ids). With ``note`` it is noted as
    told: whoever was told lately comes later in the next one. Raises BadInput, NotFound."""
    if channel not in CHANNELS:
        raise BadInput(f"channel {channel!r}", "is unknown", f"use one of {', '.join(CHANNELS)}")
    like = tuple(keys.pseudonymise(user) for user in call.pop("like", ()))
    told = contacts.recent_message_counts(engine, clock.now())
    allowed = contacts.consenting_users(engine, channel)
    if allowed is not None and not allowed:
        raise BadInput(f"channel {channel}", "is one that nobody agreed to", "consent must be yes, or name the channel")
    chosen = selector.answer(
        AudienceRequest(**call, seed_users=like, contact_counts=told, eligible_users=allowed), context
    )
    known = contacts.get_contacts(engine, [member.user for member in chosen.members])
    there = [member for member in chosen.members if member.user in known]
    if note:
        mark_contacted(engine, [m.user for m in there], call.get("product_id"), channel)
    people = tuple(_unseal_recipient(keys, known[m.user], m.score, m.reason) for m in there)
    return RecipientList(people, chosen.total)


def mark_contacted(engine: Any, pseudonyms: Sequence[str], product_id: str | None, channel: str) -> None:
    """These users are told of something now."""
    contacts.log_messages(engine, pseudonyms, product_id, channel, clock.now())


def _unseal_recipient(keys: Keys, contact: contacts.Contact, score: float, reason: str) -> Recipient:
    user_id = keys.unseal(contact.sealed_id)
    email = keys.unseal(contact.sealed_email) if contact.sealed_email else user_id if _is_address(user_id) else None
    return Recipient(user_id, email, score, reason)


def _is_address(text: str) -> bool:
    name, _, host = text.partition("@")
    return bool(name) and "." in host and " " not in text


def with_email(recipients: Sequence[Recipient]) -> list[Recipient]:
    """Those with an address."""
    return [one for one in recipients if one.email]
