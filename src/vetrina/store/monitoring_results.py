"""Newest results of the controller's checks, one row a scenario, which services show as metrics.

The health of a scenario on its last full day, and the effects of its running release: both take libraries and logs that a service
does not read.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from vetrina.core.evaluation_data import Interval
from vetrina.core.health_types import HealthReport
from vetrina.store.database import read
from vetrina.store.tables import daily_statistics

# These rows lie beside the statistics of monitoring. They belong to no day, so that they are not deleted with one.
_NO_DAY = 0
_HEALTH = "health:"
_EFFECTS = "effects:"


@dataclass(frozen=True)
class ReleaseEffects:
    """What a release has shown so far.

    Attributes:
        rollout: id of the release.
        effects: relative difference between the newer and the other version by outcome, with its anytime-valid interval.
    """

    rollout: str
    effects: Mapping[str, Interval]


_Result = TypeVar("_Result", HealthReport, ReleaseEffects)


def save_health(engine: Engine, report: HealthReport) -> None:
    """Replace the health report of a scenario."""
    _save(engine, _HEALTH + report.scenario, report)


def load_health(engine: Engine) -> dict[str, HealthReport]:
    """Newest health report by scenario."""
    return _load(engine, _HEALTH, HealthReport)


def save_effects(engine: Engine, scenario: str, effects: ReleaseEffects) -> None:
    """Replace the effects of a scenario's running release."""
    _save(engine, _EFFECTS + scenario, effects)


def load_effects(engine: Engine) -> dict[str, ReleaseEffects]:
    """Newest effects of a release by scenario; the release may have ended."""
    return _load(engine, _EFFECTS, ReleaseEffects)


def _save(engine: Engine, part: str, result: HealthReport | ReleaseEffects) -> None:
    body = msgspec.json.encode(result).decode()
    is_row = (daily_statistics.c.part == part, daily_statistics.c.number == _NO_DAY)
    try:
        with engine.begin() as connection:
            if _has_row(connection, part):
                connection.execute(update(daily_statistics).where(*is_row).values(body=body))
            else:
                connection.execute(insert(daily_statistics).values(part=part, number=_NO_DAY, body=body))
    except IntegrityError:
        pass  # another controller has saved its result at the same moment


def _has_row(connection: Connection, part: str) -> bool:
    query = select(daily_statistics.c.number).where(
        daily_statistics.c.part == part, daily_statistics.c.number == _NO_DAY
    )
    return connection.execute(query.with_for_update()).first() is not None


def _load(engine: Engine, prefix: str, result_type: type[_Result]) -> dict[str, _Result]:
    query = select(daily_statistics.c.part, daily_statistics.c.body).where(
        daily_statistics.c.number == _NO_DAY, daily_statistics.c.part.startswith(prefix)
    )
    with read(engine) as connection:
        rows = connection.execute(query).all()
    results: dict[str, _Result] = {}
    for row in rows:
        # One that another version of Vetrina wrote may have other fields; the next check replaces it.
        with suppress(msgspec.ValidationError):
            results[row.part.removeprefix(prefix)] = msgspec.json.decode(row.body, type=result_type)
    return results
