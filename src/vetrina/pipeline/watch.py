"""Keeps what monitoring needs of each day that is over, and finds the days to compare it with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from vetrina.core import clock, plugins
from vetrina.core.errors import NotFound, OtherFormat
from vetrina.core.health import SHOP, Day, Ruler
from vetrina.core.progress import each
from vetrina.core.rollout import CHAMPION
from vetrina.monitor.predictions import LABEL, of_predictions, read, turned_out
from vetrina.monitor.reader import AnswerReader, EventReader
from vetrina.monitor.rulers import for_numbers
from vetrina.monitor.summary import Encode, of_answers, of_shop
from vetrina.pipeline.replay import asked_again, overlap
from vetrina.pipeline.workshop import Workshop
from vetrina.retrieval.shelf import Shelf
from vetrina.store import dataset, days, eventlog

MEMORY_DAYS = 56
_RANKED = ("search", "recommend")
_HOUR, _LATE = 3_600.0, 3_600.0  # a day is read an hour after its end: what follows an answer needs time
_MOST_ANSWERS, _REPLAYED = 50_000, 100


def last_full_day(now: float) -> int:
    """The number of the newest day that may be read."""
    return int((now - _LATE) // clock.DAY) - 1


class Watch:
    """One shop's days. Days are read once, whoever looks first."""

    def __init__(self, workshop: Workshop, now: float) -> None:
        self._workshop, self._now = workshop, now
        self._last = last_full_day(now)

    def catch_up(self, part: str) -> list[Day]:
        """All days of a part within memory, oldest first, read now if they were not yet."""
        engine = self._workshop.engine
        known = days.since(engine, part, self._last - MEMORY_DAYS)
        there = {d.number for d in known}
        first = known[0].number if known else self._begins()
        unread = [n for n in range(max(first, self._last - MEMORY_DAYS), self._last + 1) if n not in there]
        for number in each(self._workshop.progress, f"{part}: days of the log", unread) if unread else ():
            before = [d for d in known if d.number < number]
            day = self._read(part)(part, number, before)
            days.keep(engine, day)
            known.append(day)
        return sorted(known, key=lambda d: d.number)

    def _begins(self) -> int:
        """The first day of the log."""
        moment = eventlog.first(self._workshop.engine)
        return self._last if moment is None else int(moment // clock.DAY)

    def _read(self, part: str) -> Callable[[str, int, Sequence[Day]], Day]:
        if part == SHOP:
            return self._shop
        kinds = {"products": self._answers, "rows": self._predictions, "users": self._counted}
        return kinds[plugins.part("scenarios", part, "recipe").ANSWERS]

    def learnt(self, part: str, version: str | None) -> Day | None:
        """What a version saw in training, where days are compared with that."""
        if version is None or plugins.part("scenarios", part, "recipe").ANSWERS != "rows":
            return None
        engine, name = self._workshop.engine, f"learnt:{version}"
        if known := days.since(engine, name, 0):
            return known[0]
        workshop = self._workshop
        opened = self._opened(part, version)
        try:
            snapshot = dataset.open_snapshot(workshop.shop.snapshots, workshop.registry.show(version)["snapshot"])
        except NotFound:
            return None
        table = dataset.table(snapshot)
        if table is None or opened is None:
            return None
        bins, said, scale = opened.encoding.bins(table.columns), opened.expected(table.columns), opened.encoding.number
        said = said if scale is None else scale.meant(said)
        days.keep(engine, of_predictions(name, 0, version, opened.encoding, bins, said, {}))
        return days.since(engine, name, 0)[0]

    def shelf(self, version: str | None) -> Shelf | None:
        """The catalogue that a version knows."""
        try:
            folder = self._workshop.open_version(version) / "shelf" if version else None
        except (NotFound, OtherFormat):
            return None
        return Shelf(folder) if folder and folder.exists() else None

    def _opened(self, part: str, version: str) -> Any | None:
        """A version; None if its files were removed since it served, or cannot be read any more."""
        try:
            return plugins.part("scenarios", part, "online").open(self._workshop.open_version(version))
        except (NotFound, OtherFormat):
            return None

    def _shop(self, part: str, number: int, before: Sequence[Day]) -> Day:
        shelf = next((s for p in _RANKED if (s := self.shelf(self._workshop.champion(p))) is not None), None)
        reader = EventReader(shelf.index_of if shelf else _none)
        for begin in _hours(number):
            reader.add(eventlog.happened(self._workshop.engine, begin, begin + _HOUR))
        return of_shop(number, reader.columns(), shelf, self._encode(), _rulers(before))

    def _answers(self, part: str, number: int, before: Sequence[Day]) -> Day:
        """The answers of the version that gave most of them, without those of a candidate."""
        engine, begins = self._workshop.engine, number * clock.DAY
        counts = eventlog.answered(engine, part, begins, begins + clock.DAY)
        mine = {version: n for (version, arm), n in counts.items() if arm == CHAMPION}
        if not mine:
            return Day(part, number, rulers=_rulers(before))
        version = max(mine, key=lambda v: mine[v])
        others = {name for name in _rulers(before) if name.startswith("score@") and name != f"score@{version}"}
        shelf, rulers = self.shelf(version), {n: r for n, r in _rulers(before).items() if n not in others}
        reader, kept = AnswerReader(shelf.index_of if shelf else _none), []
        below = eventlog.sample(_MOST_ANSWERS / sum(counts.values()))
        for begin in _hours(number):
            found = eventlog.shown(engine, part, begin, begin + _HOUR, items=True, below=below)
            found = [a for a in found if a["version"] == version and a["arm"] == CHAMPION]
            reader.add(found, eventlog.happened(engine, begin, begin + _HOUR + _LATE))
            kept += found
        opened, replayed = self._opened(part, version), None
        if opened is not None:
            rulers = rulers | self._scores(part, version, opened, rulers, before)
            replayed = overlap(self._workshop, opened, sorted(kept, key=lambda a: a["request_id"])[:_REPLAYED])
        day = of_answers(part, number, version, reader.columns(), shelf, self._encode(), rulers)
        return replace(day, replayed=replayed, count=mine[version])

    def _counted(self, part: str, number: int, before: Sequence[Day]) -> Day:
        """Only how many answers: no shopper saw them."""
        begins = number * clock.DAY
        counts = eventlog.answered(self._workshop.engine, part, begins, begins + clock.DAY)
        version = max(counts, key=lambda key: counts[key])[0] if counts else None
        return Day(part, number, version, sum(counts.values()), rulers=_rulers(before))

    def _predictions(self, part: str, number: int, before: Sequence[Day]) -> Day:
        """The predictions of the version that gave most of them, and what turned out true that day."""
        engine, begins = self._workshop.engine, number * clock.DAY
        counts = eventlog.answered(engine, part, begins, begins + clock.DAY)
        if not counts:
            return Day(part, number)
        version = max(counts, key=lambda key: counts[key])[0]
        below = eventlog.sample(_MOST_ANSWERS / sum(counts.values()))
        found = eventlog.shown(engine, part, begins, begins + clock.DAY, items=True, below=below)
        found = [{**a, "request": msgspec.json.decode(a["request"])} for a in found if a["version"] == version]
        labels = [
            e for begin in _hours(number) for e in eventlog.happened(engine, begin, begin + _HOUR) if e["type"] == LABEL
        ]
        learnt, opened = self.learnt(part, version), self._opened(part, version)
        if opened is None:
            return Day(part, number, version, sum(counts.values()))
        said = eventlog.predicted(engine, {e["request_id"] for e in labels if e.get("request_id")})
        rulers, known = learnt.rulers if learnt else {}, turned_out(labels, said, opened.error)
        return of_predictions(part, number, version, opened.encoding, *read(found), rulers, known)

    def _scores(
        self, part: str, version: str, opened: Any, rulers: Mapping[str, Ruler], before: Sequence[Day]
    ) -> dict[str, Ruler]:
        """What scores a version gives to what was asked in the week before it came: so the scores of versions compare."""
        name = f"score@{version}"
        if name in rulers or not before:
            return {}
        last = before[-1].number
        rows = eventlog.shown(
            self._workshop.engine, part, (last - 6) * clock.DAY, (last + 1) * clock.DAY, items=True,
            below=eventlog.sample(5 * _REPLAYED / max(1, sum(d.count for d in before[-7:]))),
        )  # fmt: skip
        scores = [
            i.score for a in asked_again(self._workshop, rows) for i in opened.answer(a.request, a.context).items[:10]
        ]
        return {name: for_numbers(np.array(scores))} if scores else {}

    def _encode(self) -> Encode | None:
        """Texts to vectors, by the encoder of the search that serves."""
        version = self._workshop.champion("search")
        folder = self._workshop.open_version(version) / "text" if version else None
        return (
            plugins.part("models", "text", "online").Encoder(folder).documents if folder and folder.exists() else None
        )


def _rulers(before: Sequence[Day]) -> Mapping[str, Ruler]:
    return before[-1].rulers if before else {}


def _hours(number: int) -> list[float]:
    return [number * clock.DAY + hour * _HOUR for hour in range(24)]


def _none(ids: Sequence[str]) -> np.ndarray:
    return np.full(len(ids), -1, np.int32)
