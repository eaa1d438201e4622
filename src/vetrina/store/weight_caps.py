"""Daily cap on what one address or one session adds to training and releases without the token.

Events of the shop's own files, and events that are sent with the token, are not capped. The totals are kept in the store, so
that all workers share them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update

from vetrina.core.columns import EVENT_WEIGHTS
from vetrina.store.tables import sender_weights

# Weight that one address, and one session, adds in a day (UTC): 64 purchases, or 640 views. 99 % of the household-days of
# Complete Journey, a grocery chain, hold no more purchases.
MAX_DAILY_WEIGHT = 64.0
# Types without a weight of their own count like a view: a flood of them would move other statistics.
_MIN_WEIGHT = 0.1
_CHUNK_SIZE = 500  # senders in one query


class _EventType(msgspec.Struct):
    type: str = ""


def event_weight(body: str) -> float:
    """Weight of an event that counts for the cap: that of its type without the shop's settings, at least that of a view."""
    event_type = msgspec.json.decode(body, type=_EventType).type
    return max(_MIN_WEIGHT, EVENT_WEIGHTS.get(event_type, 0.0))


def exceed_cap(
    connection: Connection, senders: Sequence[Iterable[str]], weights: Sequence[float], day: int
) -> list[bool]:
    """Whether each event exceeds the cap of one of its senders; the others are added to their senders' totals.

    The caller holds the lock of the event log.

    Args:
        connection: In a transaction that may write.
        senders: Of each event the pseudonyms of its address and, if it has one, of its session.
        weights: Weight of each event.
        day: Days since 1970.
    """
    names = list(dict.fromkeys(name for event_senders in senders for name in event_senders))
    stored_totals = _load_totals(connection, names, day)
    totals = defaultdict(float, stored_totals)
    over_cap: list[bool] = []
    for event_senders, weight in zip(senders, weights, strict=True):
        exceeds = any(totals[name] + weight > MAX_DAILY_WEIGHT for name in event_senders)
        over_cap.append(exceeds)
        if not exceeds:
            for name in event_senders:
                totals[name] += weight
    _save_totals(connection, totals, stored_totals, day)
    return over_cap


def _load_totals(connection: Connection, names: Sequence[str], day: int) -> dict[str, float]:
    totals: dict[str, float] = {}
    for start in range(0, len(names), _CHUNK_SIZE):
        chunk = names[start : start + _CHUNK_SIZE]
        query = select(sender_weights.c.sender, sender_weights.c.weight).where(
            sender_weights.c.sender.in_(chunk), sender_weights.c.day == day
        )
        totals |= {row.sender: row.weight for row in connection.execute(query)}
    return totals


def _save_totals(connection: Connection, totals: dict[str, float], stored_totals: dict[str, float], day: int) -> None:
    new_rows: list[dict[str, object]] = []
    changed_rows: list[dict[str, object]] = []
    for name, weight in totals.items():
        if name not in stored_totals:
            new_rows.append({"sender": name, "day": day, "weight": weight})
        elif weight != stored_totals[name]:
            changed_rows.append({"of_sender": name, "of_day": day, "new_weight": weight})
    if new_rows:
        connection.execute(insert(sender_weights), new_rows)
    if changed_rows:
        change = (
            update(sender_weights)
            .where(sender_weights.c.sender == bindparam("of_sender"), sender_weights.c.day == bindparam("of_day"))
            .values(weight=bindparam("new_weight"))
        )
        connection.execute(change, changed_rows)
