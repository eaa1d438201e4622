"""Who may be told of something, where, and how often they were lately. Ids and addresses leave this module sealed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, delete, insert, select

from vetrina.core.clock import DAY
from vetrina.store.tables import contacts, message_log, users

FREQUENCY_WINDOW = 28 * DAY
_GENERAL_CONSENT = frozenset({"yes", "true", "1", "all", "y", "opt-in"})
_CHUNK_SIZE = 500


@dataclass(frozen=True)
class Contact:
    """A user's sealed id and sealed address, None where the shop gave no address."""

    sealed_id: bytes
    sealed_email: bytes | None


def upsert_contacts(engine: Engine, rows: Sequence[Mapping[str, object]]) -> None:
    """Keep addresses and consent; later rows replace earlier ones of the same user."""
    newest = {row["pseudonym"]: dict(row) for row in rows}
    with engine.begin() as connection:
        for names in _chunks(list(newest)):
            connection.execute(delete(contacts).where(contacts.c.pseudonym.in_(names)))
            connection.execute(insert(contacts), [newest[name] for name in names])


def consenting_users(engine: Engine, channel: str) -> frozenset[str] | None:
    """Pseudonyms of who agreed to a channel; None where the shop keeps no record of consent, so that nobody is ruled out.

    Consent is yes, true, 1 or all for every channel, or the names of channels; anything else, and silence, is no.
    """
    with engine.connect().execution_options(read_only=True) as connection:
        found = connection.execute(select(contacts.c.pseudonym, contacts.c.consent)).all()
    if all(row.consent is None for row in found):
        return None
    return frozenset(row.pseudonym for row in found if _has_consent(row.consent, channel))


def _has_consent(consent: str | None, channel: str) -> bool:
    said = set((consent or "").lower().replace(",", " ").replace(";", " ").split())
    return bool(said & _GENERAL_CONSENT) or channel in said


def get_contacts(engine: Engine, pseudonyms: Sequence[str]) -> dict[str, Contact]:
    """What is on file of some users; those without an id are left out."""
    found: dict[str, Contact] = {}
    with engine.connect().execution_options(read_only=True) as connection:
        for names in _chunks(pseudonyms):
            joined = users.outerjoin(contacts, users.c.pseudonym == contacts.c.pseudonym)
            asked = select(users.c.pseudonym, users.c.sealed_id, contacts.c.sealed_email).select_from(joined)
            for row in connection.execute(asked.where(users.c.pseudonym.in_(names))):
                found[row.pseudonym] = Contact(row.sealed_id, row.sealed_email)
    return found


def log_messages(engine: Engine, pseudonyms: Sequence[str], product_id: str | None, channel: str, now: float) -> None:
    """Note that these users are told of something now."""
    rows = [{"user": user, "product_id": product_id, "channel": channel, "time": now} for user in pseudonyms]
    with engine.begin() as connection:
        for part in _chunks(rows):
            connection.execute(insert(message_log), part)


def recent_message_counts(engine: Engine, now: float) -> Mapping[str, int]:
    """How often each user was told of something in the last four weeks."""
    with engine.connect().execution_options(read_only=True) as connection:
        return Counter(
            connection.execute(select(message_log.c.user).where(message_log.c.time > now - FREQUENCY_WINDOW)).scalars()
        )


def _chunks(rows: Sequence[Any]) -> Iterator[list[Any]]:
    return (list(rows[at : at + _CHUNK_SIZE]) for at in range(0, len(rows), _CHUNK_SIZE))
