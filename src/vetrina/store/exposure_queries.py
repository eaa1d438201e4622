"""Queries of the log of exposures."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import Engine, RowMapping, func, select

from vetrina.core.exposures import Exposure, LoggedItem
from vetrina.store.chunks import chunks
from vetrina.store.database import read
from vetrina.store.tables import exposures

_ITEMS = msgspec.json.Decoder(tuple[LoggedItem, ...])
_HEADER_NAMES = (
    "request_id",
    "scenario",
    "version",
    "time",
    "arm",
    "seconds",
    "user",
    "session",
    "fault",
    "rollout",
    "step",
)
_HEADER = tuple(exposures.c[name] for name in _HEADER_NAMES)
_REQUEST = exposures.c.request
_ITEMS_COLUMN = exposures.c["items"]  # ``exposures.c.items`` is a method


def list_exposures(
    engine: Engine,
    scenario: str,
    since: float,
    until: float,
    *,
    with_items: bool = False,
    sample_bound: str = "",
    rollout: str = "",
) -> list[Exposure]:
    """Logged answers of a scenario in (``since``, ``until``].

    Args:
        engine: The store.
        scenario: The scenario.
        since: Seconds since 1970, exclusive.
        until: Seconds since 1970, inclusive.
        with_items: Whether the request and the items are read, too.
        sample_bound: Only answers whose request id, a random hexadecimal number, is smaller; empty for all. See
            ``sample_bound``.
        rollout: Only answers that take part in this rollout; empty for all.
    """
    columns = [*_HEADER]
    if with_items:
        columns += [_REQUEST, _ITEMS_COLUMN]
    query = select(*columns).where(
        exposures.c.scenario == scenario, exposures.c.time > since, exposures.c.time <= until
    )
    if sample_bound:
        query = query.where(exposures.c.request_id < sample_bound)
    if rollout:
        query = query.where(exposures.c.rollout == rollout)
    with read(engine) as connection:
        return [_exposure(row) for row in connection.execute(query).mappings()]


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """What was requested: the pseudonym of the user, if any, and the other parameters as JSON."""

    user: str | None
    request_json: str


def newest_requests(engine: Engine, scenario: str, limit: int) -> list[LoggedRequest]:
    """The requests of the newest logged answers of a scenario, at most ``limit``, the newest first."""
    query = select(exposures.c.user, _REQUEST).where(exposures.c.scenario == scenario)
    query = query.order_by(exposures.c.time.desc()).limit(limit)
    with read(engine) as connection:
        return [LoggedRequest(row.user, row.request) for row in connection.execute(query)]


def exposures_by_request_id(
    engine: Engine, request_ids: Iterable[str], scenario: str | None = None
) -> dict[str, Exposure]:
    """The logged answers with these request ids and their items, without their requests.

    Args:
        engine: The store.
        request_ids: Request ids; those without an answer are left out.
        scenario: Only answers of this scenario; None for all.
    """
    by_request_id: dict[str, Exposure] = {}
    with read(engine) as connection:
        for chunk in chunks(request_ids):
            query = select(*_HEADER, _ITEMS_COLUMN).where(exposures.c.request_id.in_(chunk))
            if scenario is not None:
                query = query.where(exposures.c.scenario == scenario)
            for row in connection.execute(query).mappings():
                by_request_id[row["request_id"]] = _exposure(row)
    return by_request_id


def _exposure(row: RowMapping) -> Exposure:
    """A row with the columns of the header and perhaps the request and the items."""
    fields = dict(row)
    if "request" in fields:
        fields["request_json"] = fields.pop("request")
    if "items" in fields:
        fields["items"] = _ITEMS.decode(fields["items"])
    return Exposure(**fields)


def first_exposure_times(engine: Engine, rollout: str, step: int, since: float, until: float) -> dict[str, float]:
    """Units whose first answer in a step of a rollout lies in (``since``, ``until``].

    Args:
        engine: The store.
        rollout: Id of the rollout.
        step: Step of the rollout.
        since: Seconds since 1970, exclusive.
        until: Seconds since 1970, inclusive.

    Returns:
        Time of the first answer by unit.
    """
    unit = func.coalesce(exposures.c.user, exposures.c.session)
    first_time = func.min(exposures.c.time)
    query = (
        select(unit.label("unit"), first_time.label("first"))
        .where(exposures.c.rollout == rollout, exposures.c.step == step, exposures.c.time <= until)
        .group_by(unit)
        .having(first_time > since)
    )
    with read(engine) as connection:
        return {row.unit: row.first for row in connection.execute(query)}


def sample_bound(share: float) -> str:
    """The request id below which about ``share`` of all answers lie; empty for all of them."""
    if share >= 1:
        return ""
    return f"{int(share * 16**8):08x}"


def count_exposures(engine: Engine, scenario: str, since: float, until: float) -> dict[tuple[str, str], int]:
    """Number of logged answers of a scenario in (``since``, ``until``].

    Args:
        engine: The store.
        scenario: The scenario.
        since: Seconds since 1970, exclusive.
        until: Seconds since 1970, inclusive.

    Returns:
        Counts by (version, arm).
    """
    query = (
        select(exposures.c.version, exposures.c.arm, func.count())
        .where(exposures.c.scenario == scenario, exposures.c.time > since, exposures.c.time <= until)
        .group_by(exposures.c.version, exposures.c.arm)
    )
    with read(engine) as connection:
        return {(version, arm): count for version, arm, count in connection.execute(query)}


def count_exposures_since(engine: Engine, scenario: str, since: float) -> int:
    """Number of logged answers of a scenario at or after ``since``, seconds since 1970."""
    query = (
        select(func.count()).select_from(exposures).where(exposures.c.scenario == scenario, exposures.c.time >= since)
    )
    with read(engine) as connection:
        return connection.execute(query).scalar_one()


def first_exposure_time(engine: Engine) -> float | None:
    """Time of the oldest logged answer, None without answers."""
    with read(engine) as connection:
        return connection.execute(select(func.min(exposures.c.time))).scalar()
