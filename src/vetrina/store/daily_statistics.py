"""What monitoring keeps of each day that is over, once."""

import msgspec
from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from vetrina.core.health_types import DailyStatistics
from vetrina.store.tables import daily_statistics


def save(engine: Engine, statistics: DailyStatistics) -> None:
    """Write a day; one that is there already stays as it is."""
    body = msgspec.json.encode(statistics).decode()
    try:
        with engine.begin() as connection:
            connection.execute(
                insert(daily_statistics).values(part=statistics.part, number=statistics.number, body=body)
            )
    except IntegrityError:
        pass  # another controller was faster; both read the same log


def delete_before(engine: Engine, day_number: int) -> None:
    """Remove what is kept of days before ``number``; what versions learnt, which belongs to no day, stays."""
    with engine.begin() as connection:
        connection.execute(
            delete(daily_statistics).where(daily_statistics.c.number > 0, daily_statistics.c.number < day_number)
        )


def load_since(engine: Engine, scope: str, day_number: int) -> list[DailyStatistics]:
    """The days of a part from ``number`` on, oldest first."""
    query = (
        select(daily_statistics.c.body)
        .where(daily_statistics.c.part == scope, daily_statistics.c.number >= day_number)
        .order_by(daily_statistics.c.number)
    )
    with engine.connect().execution_options(read_only=True) as connection:
        return [msgspec.json.decode(body, type=DailyStatistics) for body in connection.execute(query).scalars()]
