"""What monitoring keeps of each day that is over, once."""

import msgspec
from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from vetrina.core.health import Day
from vetrina.store.tables import days


def keep(engine: Engine, day: Day) -> None:
    """Write a day; one that is there already stays as it is."""
    body = msgspec.json.encode(day).decode()
    try:
        with engine.begin() as connection:
            connection.execute(insert(days).values(part=day.part, number=day.number, body=body))
    except IntegrityError:
        pass  # another controller was faster; both read the same log


def forget(engine: Engine, number: int) -> None:
    """Remove what is kept of days before ``number``; what versions learnt, which belongs to no day, stays."""
    with engine.begin() as connection:
        connection.execute(delete(days).where(days.c.number > 0, days.c.number < number))


def since(engine: Engine, part: str, number: int) -> list[Day]:
    """The days of a part from ``number`` on, oldest first."""
    query = select(days.c.body).where(days.c.part == part, days.c.number >= number).order_by(days.c.number)
    with engine.connect().execution_options(read_only=True) as connection:
        return [msgspec.json.decode(body, type=Day) for body in connection.execute(query).scalars()]
