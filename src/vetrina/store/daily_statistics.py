"""Daily statistics of monitoring, one row a day."""

import msgspec
from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from vetrina.core.health_types import DailyStatistics
from vetrina.store.database import read
from vetrina.store.tables import daily_statistics


def save(engine: Engine, statistics: DailyStatistics) -> None:
    """Store the statistics of a day, unless it has some already."""
    body = msgspec.json.encode(statistics).decode()
    row = {"part": statistics.part, "number": statistics.number, "body": body}
    try:
        with engine.begin() as connection:
            connection.execute(insert(daily_statistics).values(**row))
    except IntegrityError:
        pass  # another controller was faster; both read the same log


def delete_before(engine: Engine, day_number: int) -> None:
    """Delete the statistics of days before ``day_number`` (days since 1970).

    Statistics of training data, which belong to no day, are kept.
    """
    is_day = daily_statistics.c.number > 0
    with engine.begin() as connection:
        connection.execute(delete(daily_statistics).where(is_day, daily_statistics.c.number < day_number))


def load_since(engine: Engine, scope: str, day_number: int) -> list[DailyStatistics]:
    """Statistics of a scope from a day on, oldest first.

    Args:
        engine: The store.
        scope: ``SHOP_SCOPE`` or a scenario.
        day_number: First day (days since 1970).
    """
    query = (
        select(daily_statistics.c.body)
        .where(daily_statistics.c.part == scope, daily_statistics.c.number >= day_number)
        .order_by(daily_statistics.c.number)
    )
    with read(engine) as connection:
        bodies = connection.execute(query).scalars()
        return [msgspec.json.decode(body, type=DailyStatistics) for body in bodies]
