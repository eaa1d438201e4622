"""Answers and CPU seconds of every version, summed over all workers of a shop, one row a day."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import Engine, insert, select, update

from vetrina.core import clock
from vetrina.core.serving_usage import ServingUsage
from vetrina.store.database import read
from vetrina.store.tables import daily_statistics

# These rows lie beside the statistics of monitoring, which are deleted after as many days: what they are about.
_PART = "usage:answers"
_UsageByVersion = dict[str, ServingUsage]


def add_usage(engine: Engine, usage_by_version: Mapping[str, ServingUsage]) -> None:
    """Add what a worker's answers took to the row of this day.

    Raises:
        IntegrityError: another worker has made the row of the day at the same moment; nothing was added.
    """
    day_number = int(clock.now() // clock.DAY)
    is_row = (daily_statistics.c.part == _PART, daily_statistics.c.number == day_number)
    with engine.begin() as connection:
        body = connection.execute(select(daily_statistics.c.body).where(*is_row).with_for_update()).scalar()
        stored: _UsageByVersion = {}
        if body is not None:
            stored = msgspec.json.decode(body, type=_UsageByVersion)
        for version, usage in usage_by_version.items():
            stored[version] = stored.get(version, ServingUsage()) + usage
        new_body = msgspec.json.encode(stored).decode()
        if body is None:
            connection.execute(insert(daily_statistics).values(part=_PART, number=day_number, body=new_body))
        else:
            connection.execute(update(daily_statistics).where(*is_row).values(body=new_body))


def usage_of(engine: Engine, version: str) -> ServingUsage:
    """What the answers of a version took, over all days on record."""
    query = select(daily_statistics.c.body).where(daily_statistics.c.part == _PART)
    total = ServingUsage()
    with read(engine) as connection:
        for body in connection.execute(query).scalars():
            total += msgspec.json.decode(body, type=_UsageByVersion).get(version, ServingUsage())
    return total
