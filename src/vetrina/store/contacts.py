"""Contacts: consent, sealed addresses and the log of sent messages.

Ids and addresses are encrypted ("sealed") whenever they enter or leave this module.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, delete, insert, select

from vetrina.core.clock import DAY
from vetrina.store.chunks import chunks
from vetrina.store.database import read
from vetrina.store.tables import contacts, message_log, users

# Messages within this time count against a user, in seconds.
FREQUENCY_WINDOW = 28 * DAY
# Texts that mean consent to every channel.
_GENERAL_CONSENT = frozenset({"yes", "true", "1", "all", "y", "opt-in"})


@dataclass(frozen=True)
class Contact:
    """A user's encrypted id and encrypted address.

    Attributes:
        sealed_id: The encrypted id.
        sealed_email: The encrypted address; None if the shop gave none.
        is_listed: Whether the shop named the user in a file of users; others are known from events alone, which anybody may send.
    """

    sealed_id: bytes
    sealed_email: bytes | None
    is_listed: bool


def upsert_contacts(engine: Engine, rows: Sequence[Mapping[str, object]]) -> None:
    """Store addresses and consent; later rows replace earlier ones of the same user."""
    row_by_user = {row["pseudonym"]: dict(row) for row in rows}
    with engine.begin() as connection:
        for pseudonyms in chunks(row_by_user):
            connection.execute(delete(contacts).where(contacts.c.pseudonym.in_(pseudonyms)))
            connection.execute(insert(contacts), [row_by_user[pseudonym] for pseudonym in pseudonyms])


def consenting_users(engine: Engine, channel: str) -> frozenset[str] | None:
    """Pseudonyms of users who consent to a channel; None if the shop does not record consent, so that all are eligible.

    Consent is yes, true, 1 or all for every channel, or the names of channels; anything else means no consent.
    """
    query = select(contacts.c.pseudonym, contacts.c.consent)
    with read(engine) as connection:
        rows = connection.execute(query).all()
    if all(row.consent is None for row in rows):
        return None
    return frozenset(row.pseudonym for row in rows if _has_consent(row.consent, channel))


def _has_consent(consent: str | None, channel: str) -> bool:
    if consent is None:
        return False
    words = set(consent.lower().replace(",", " ").replace(";", " ").split())
    return channel in words or bool(words & _GENERAL_CONSENT)


def get_contacts(engine: Engine, pseudonyms: Sequence[str]) -> dict[str, Contact]:
    """Contacts by pseudonym; users without a stored id are left out."""
    users_with_contacts = users.outerjoin(contacts, users.c.pseudonym == contacts.c.pseudonym)
    columns = (users.c.pseudonym, users.c.sealed_id, contacts.c.sealed_email, contacts.c.pseudonym.label("listed"))
    query = select(*columns).select_from(users_with_contacts)
    contact_by_user: dict[str, Contact] = {}
    with read(engine) as connection:
        for chunk in chunks(pseudonyms):
            for row in connection.execute(query.where(users.c.pseudonym.in_(chunk))):
                contact_by_user[row.pseudonym] = Contact(row.sealed_id, row.sealed_email, row.listed is not None)
    return contact_by_user


def log_messages(engine: Engine, pseudonyms: Sequence[str], product_id: str | None, channel: str, now: float) -> None:
    """Record that users are sent a message now.

    Args:
        engine: The store.
        pseudonyms: The users.
        product_id: Product of the message, if it is about one.
        channel: Channel of the message.
        now: Seconds since 1970.
    """
    rows = [{"user": user, "product_id": product_id, "channel": channel, "time": now} for user in pseudonyms]
    with engine.begin() as connection:
        for chunk in chunks(rows):
            connection.execute(insert(message_log), chunk)


def recent_message_counts(engine: Engine, now: float) -> Mapping[str, int]:
    """Number of messages of the last four weeks by user; ``now`` in seconds since 1970."""
    query = select(message_log.c.user).where(message_log.c.time > now - FREQUENCY_WINDOW)
    with read(engine) as connection:
        return Counter(connection.execute(query).scalars())
