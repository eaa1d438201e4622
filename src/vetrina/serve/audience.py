"""Finds an audience and hands it over: consent and rest are looked up at the moment of asking, ids are unsealed last."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vetrina.core import clock
from vetrina.core.errors import BadInput
from vetrina.core.protocols import Context
from vetrina.core.types import Call
from vetrina.security.keys import Keys
from vetrina.store import contacts

CHANNELS = ("csv", "email", "push", "social", "webhook")


@dataclass(frozen=True)
class Told:
    """A person of an audience, by their own name: only for the channel that reaches them."""

    user_id: str
    email: str | None
    score: float
    reason: str


@dataclass(frozen=True)
class Found:
    """``total`` counts all who might be told."""

    people: tuple[Told, ...]
    total: int


def find(
    opened: Any, engine: Any, keys: Keys, context: Context, channel: str = "csv", note: bool = False, **call: Any
) -> Found:
    """The audience of a call (fields of ``core.types.Call``; users of ``like`` by their own ids). With ``note`` it is noted as
    told: whoever was told lately comes later in the next one. Raises BadInput, NotFound."""
    if channel not in CHANNELS:
        raise BadInput(f"channel {channel!r}", "is unknown", f"use one of {', '.join(CHANNELS)}")
    like = tuple(keys.name_of(user) for user in call.pop("like", ()))
    told, allowed = contacts.told_lately(engine, clock.now()), contacts.may_be_told(engine, channel)
    if allowed is not None and not allowed:
        raise BadInput(f"channel {channel}", "is one that nobody agreed to", "consent must be yes, or name the channel")
    chosen = opened.answer(Call(**call, like=like, told=told, allowed=allowed), context)
    known = contacts.reach(engine, [member.user for member in chosen.members])
    there = [member for member in chosen.members if member.user in known]
    if note:
        noted(engine, [m.user for m in there], call.get("product_id"), channel)
    people = tuple(_unsealed(keys, known[m.user], m.score, m.reason) for m in there)
    return Found(people, chosen.total)


def noted(engine: Any, pseudonyms: Sequence[str], product_id: str | None, channel: str) -> None:
    """These users are told of something now."""
    contacts.tell(engine, pseudonyms, product_id, channel, clock.now())


def _unsealed(keys: Keys, contact: contacts.Contact, score: float, reason: str) -> Told:
    user_id = keys.unseal(contact.sealed_id)
    email = keys.unseal(contact.sealed_email) if contact.sealed_email else user_id if _is_address(user_id) else None
    return Told(user_id, email, score, reason)


def _is_address(text: str) -> bool:
    name, _, host = text.partition("@")
    return bool(name) and "." in host and " " not in text


def addressed(people: Sequence[Told]) -> list[Told]:
    """Those with an address."""
    return [one for one in people if one.email]
