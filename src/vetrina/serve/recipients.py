"""Recipients of an audience: consent, contact fatigue, unsealed user ids and e-mail addresses.

Consent and recent messages are read when the audience is requested. User ids are unsealed last, only for the users who are
delivered. How users are scored belongs to the scenario.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from vetrina.core import clock
from vetrina.core.errors import BadInput
from vetrina.core.keys import Keys
from vetrina.core.protocols import Context
from vetrina.core.types import AudienceRequest
from vetrina.scenarios.base import AudienceBundle
from vetrina.store import contacts

CHANNELS = ("csv", "email", "push", "social", "webhook")


@dataclass(frozen=True)
class Recipient:
    """A user of an audience under the shop's own user id: only for the channel that delivers the message."""

    user_id: str
    email: str | None
    score: float
    reason: str


@dataclass(frozen=True)
class RecipientList:
    """The recipients, best first. ``total`` counts all users who were eligible."""

    recipients: tuple[Recipient, ...]
    total: int


@dataclass(frozen=True)
class AudienceQuery:
    """An audience that the shop asks for, under its own user ids.

    Attributes:
        product_id: Product that the audience is for.
        size: Number of users.
        like: Users that the audience is to be similar to.
        segment: Segment that the audience is taken from; empty for none.
        channel: One of ``CHANNELS``; users without consent to it are left out.
        note: Whether to log the recipients as contacted. Users who were contacted recently rank lower in later audiences.
    """

    product_id: str | None = None
    size: int = 100
    like: Sequence[str] = ()
    segment: str = ""
    channel: str = "csv"
    note: bool = False


def find_recipients(
    bundle: AudienceBundle, engine: Engine, keys: Keys, context: Context, query: AudienceQuery
) -> RecipientList:
    """The recipients of an audience, best first.

    Args:
        bundle: the loaded bundle that scores users.
        engine: the store with contacts and messages.
        keys: keys that pseudonymise and unseal user ids.
        context: catalogue changes at this moment.
        query: which users, for which channel.

    Raises:
        BadInput: the channel is unknown or nobody consented to it, or the query is not valid.
        NotFound: the product or all seed users are unknown.
    """
    channel = query.channel
    if channel not in CHANNELS:
        raise BadInput(f"channel {channel!r}", "is unknown", f"use one of {', '.join(CHANNELS)}")
    eligible_users = contacts.consenting_users(engine, channel)
    if eligible_users is not None and not eligible_users:
        raise BadInput(f"channel {channel}", "is one that nobody agreed to", "consent must be yes, or name the channel")
    request = AudienceRequest(
        product_id=query.product_id,
        size=query.size,
        seed_users=tuple(keys.pseudonymise(user) for user in query.like),
        segment=query.segment,
        contact_counts=contacts.recent_message_counts(engine, clock.now()),
        eligible_users=eligible_users,
    )
    audience = bundle.answer(request, context)
    contacts_by_user = contacts.get_contacts(engine, [member.user for member in audience.members])
    members = [member for member in audience.members if member.user in contacts_by_user]
    if query.note:
        mark_contacted(engine, [member.user for member in members], query.product_id, channel)
    recipients = []
    for member in members:
        contact = contacts_by_user[member.user]
        recipients.append(_unseal_recipient(keys, contact, member.score, member.reason))
    return RecipientList(tuple(recipients), audience.total)


def mark_contacted(engine: Engine, pseudonyms: Sequence[str], product_id: str | None, channel: str) -> None:
    """Log that users are contacted now.

    Args:
        engine: the store.
        pseudonyms: the contacted users.
        product_id: the product that the message is about, None for a segment or a list of similar users.
        channel: one of ``CHANNELS``.
    """
    contacts.log_messages(engine, pseudonyms, product_id, channel, clock.now())


def _unseal_recipient(keys: Keys, contact: contacts.Contact, score: float, reason: str) -> Recipient:
    """The recipient in plain text.

    A user id that is an e-mail address stands in for a missing one, if the shop named the user in a file of users.
    """
    user_id = keys.unseal(contact.sealed_id)
    email = None
    if contact.sealed_email:
        email = keys.unseal(contact.sealed_email)
    elif contact.is_listed and _is_email_address(user_id):
        email = user_id
    return Recipient(user_id, email, score, reason)


def _is_email_address(text: str) -> bool:
    name, _, host = text.partition("@")
    return bool(name) and "." in host and " " not in text


def with_email(recipients: Sequence[Recipient]) -> list[Recipient]:
    """The recipients who have an e-mail address."""
    return [recipient for recipient in recipients if recipient.email]
