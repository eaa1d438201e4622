"""Keeps what monitoring needs of each day that is over, and finds the days to compare it with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from vetrina.core import clock, plugins
from vetrina.core.errors import NotFound, OtherFormat
from vetrina.core.health_types import SHOP_SCOPE, BinEdges, DailyStatistics
from vetrina.core.progress import track
from vetrina.core.rollout_types import CHAMPION
from vetrina.monitor.bin_edges import fit_quantiles
from vetrina.monitor.log_reader import AnswerReader, EventReader
from vetrina.monitor.log_statistics import TextEncoder, answer_statistics, event_statistics
from vetrina.monitor.prediction_statistics import LABEL_EVENT, label_sums, prediction_statistics, read_predictions
from vetrina.pipeline.replay import replay_overlap, replay_requests
from vetrina.pipeline.shop_context import ShopContext
from vetrina.retrieval.catalogue_index import CatalogueIndex
from vetrina.store import daily_statistics, dataset, event_log

RETENTION_DAYS = 56
_RANKING_SCENARIOS = ("search", "recommend")
# a day is read an hour after its end: what follows an answer needs time
_HOUR_SECONDS = 3_600.0
_LOG_DELAY_SECONDS = 3_600.0
_MAX_ANSWERS = 50_000
_MAX_REPLAYED_ANSWERS = 100


def last_full_day(now: float) -> int:
    """The number of the newest day that may be read."""
    return int((now - _LOG_DELAY_SECONDS) // clock.DAY) - 1


class DailyStatisticsReader:
    """One shop's days. Days are read once, whoever looks first."""

    def __init__(self, shop_context: ShopContext, now: float) -> None:
        self._shop_context = shop_context
        self._now = now
        self._last_day = last_full_day(now)

    def load_days(self, scope: str) -> list[DailyStatistics]:
        """All days of a part within memory, oldest first, read now if they were not yet."""
        engine = self._shop_context.engine
        known = daily_statistics.load_since(engine, scope, self._last_day - RETENTION_DAYS)
        there = {d.number for d in known}
        first = known[0].number if known else self._first_day()
        unread = [n for n in range(max(first, self._last_day - RETENTION_DAYS), self._last_day + 1) if n not in there]
        for number in track(self._shop_context.progress, f"{scope}: days of the log", unread) if unread else ():
            before = [d for d in known if d.number < number]
            day = self._reader_for(scope)(scope, number, before)
            daily_statistics.save(engine, day)
            known.append(day)
        return sorted(known, key=lambda d: d.number)

    def _first_day(self) -> int:
        """The first day of the log."""
        moment = event_log.first_timestamp(self._shop_context.engine)
        return self._last_day if moment is None else int(moment // clock.DAY)

    def _reader_for(self, scope: str) -> Callable[[str, int, Sequence[DailyStatistics]], DailyStatistics]:
        if scope == SHOP_SCOPE:
            return self._read_shop_day
        kinds = {
            "products": self._read_answers_day,
            "rows": self._read_predictions_day,
            "users": self._read_answer_counts,
        }
        return kinds[plugins.load_module("scenarios", scope, "recipe").ANSWER_KIND]

    def training_statistics(self, scope: str, version: str | None) -> DailyStatistics | None:
        """What a version saw in training, where days are compared with that."""
        if version is None or plugins.load_module("scenarios", scope, "recipe").ANSWER_KIND != "rows":
            return None
        engine = self._shop_context.engine
        name = f"learnt:{version}"
        if known := daily_statistics.load_since(engine, name, 0):
            return known[0]
        shop_context = self._shop_context
        opened = self._load_version(scope, version)
        try:
            snapshot = dataset.open_snapshot(
                shop_context.folder.snapshots, shop_context.registry.get_version(version)["snapshot"]
            )
        except NotFound:
            return None
        table = dataset.table(snapshot)
        if table is None or opened is None:
            return None
        bins = opened.encoding.bins(table.columns)
        said = opened.predict(table.columns)
        scale = opened.encoding.number
        said = said if scale is None else scale.meant(said)
        daily_statistics.save(engine, prediction_statistics(name, 0, version, opened.encoding, bins, said, {}))
        return daily_statistics.load_since(engine, name, 0)[0]

    def catalogue(self, version: str | None) -> CatalogueIndex | None:
        """The catalogue that a version knows."""
        try:
            folder = self._shop_context.version_folder(version) / "shelf" if version else None
        except (NotFound, OtherFormat):
            return None
        return CatalogueIndex(folder) if folder and folder.exists() else None

    def _load_version(self, scope: str, version: str) -> Any | None:
        """A version; None if its files were removed since it served, or cannot be read any more."""
        try:
            return plugins.load_module("scenarios", scope, "online").load(self._shop_context.version_folder(version))
        except (NotFound, OtherFormat):
            return None

    def _read_shop_day(self, scope: str, day_number: int, earlier_days: Sequence[DailyStatistics]) -> DailyStatistics:
        shelf = next(
            (s for p in _RANKING_SCENARIOS if (s := self.catalogue(self._shop_context.champion(p))) is not None), None
        )
        reader = EventReader(shelf.index_of if shelf else _no_products)
        for begin in _hour_starts(day_number):
            reader.add(event_log.list_events(self._shop_context.engine, begin, begin + _HOUR_SECONDS))
        return event_statistics(day_number, reader.columns(), shelf, self._text_encoder(), _bin_edges(earlier_days))

    def _read_answers_day(
        self, scope: str, day_number: int, earlier_days: Sequence[DailyStatistics]
    ) -> DailyStatistics:
        """The answers of the version that gave most of them, without those of a candidate."""
        engine = self._shop_context.engine
        begins = day_number * clock.DAY
        counts = event_log.count_answers(engine, scope, begins, begins + clock.DAY)
        mine = {version: n for (version, arm), n in counts.items() if arm == CHAMPION}
        if not mine:
            return DailyStatistics(scope, day_number, rulers=_bin_edges(earlier_days))
        version = max(mine, key=lambda v: mine[v])
        others = {name for name in _bin_edges(earlier_days) if name.startswith("score@") and name != f"score@{version}"}
        shelf = self.catalogue(version)
        rulers = {n: r for n, r in _bin_edges(earlier_days).items() if n not in others}
        reader = AnswerReader(shelf.index_of if shelf else _no_products)
        kept = []
        below = event_log.sample_bound(_MAX_ANSWERS / sum(counts.values()))
        for begin in _hour_starts(day_number):
            found = event_log.list_answers(
                engine, scope, begin, begin + _HOUR_SECONDS, with_items=True, sample_bound=below
            )
            found = [a for a in found if a["version"] == version and a["arm"] == CHAMPION]
            reader.add(found, event_log.list_events(engine, begin, begin + _HOUR_SECONDS + _LOG_DELAY_SECONDS))
            kept += found
        opened = self._load_version(scope, version)
        replayed = None
        if opened is not None:
            rulers = rulers | self._score_bin_edges(scope, version, opened, rulers, earlier_days)
            replayed = replay_overlap(
                self._shop_context, opened, sorted(kept, key=lambda a: a["request_id"])[:_MAX_REPLAYED_ANSWERS]
            )
        day = answer_statistics(scope, day_number, version, reader.columns(), shelf, self._text_encoder(), rulers)
        return replace(day, replayed=replayed, count=mine[version])

    def _read_answer_counts(
        self, scope: str, day_number: int, earlier_days: Sequence[DailyStatistics]
    ) -> DailyStatistics:
        """Only how many answers: no shopper saw them."""
        begins = day_number * clock.DAY
        counts = event_log.count_answers(self._shop_context.engine, scope, begins, begins + clock.DAY)
        version = max(counts, key=lambda key: counts[key])[0] if counts else None
        return DailyStatistics(scope, day_number, version, sum(counts.values()), rulers=_bin_edges(earlier_days))

    def _read_predictions_day(
        self, scope: str, day_number: int, earlier_days: Sequence[DailyStatistics]
    ) -> DailyStatistics:
        """The predictions of the version that gave most of them, and what turned out true that day."""
        engine = self._shop_context.engine
        begins = day_number * clock.DAY
        counts = event_log.count_answers(engine, scope, begins, begins + clock.DAY)
        if not counts:
            return DailyStatistics(scope, day_number)
        version = max(counts, key=lambda key: counts[key])[0]
        below = event_log.sample_bound(_MAX_ANSWERS / sum(counts.values()))
        found = event_log.list_answers(engine, scope, begins, begins + clock.DAY, with_items=True, sample_bound=below)
        found = [{**a, "request": msgspec.json.decode(a["request"])} for a in found if a["version"] == version]
        labels = [
            e
            for begin in _hour_starts(day_number)
            for e in event_log.list_events(engine, begin, begin + _HOUR_SECONDS)
            if e["type"] == LABEL_EVENT
        ]
        learnt = self.training_statistics(scope, version)
        opened = self._load_version(scope, version)
        if opened is None:
            return DailyStatistics(scope, day_number, version, sum(counts.values()))
        said = event_log.predictions_by_request_id(engine, {e["request_id"] for e in labels if e.get("request_id")})
        rulers = learnt.rulers if learnt else {}
        known = label_sums(labels, said, opened.rmse)
        return prediction_statistics(
            scope, day_number, version, opened.encoding, *read_predictions(found), rulers, known
        )

    def _score_bin_edges(
        self,
        scope: str,
        version: str,
        loaded_bundle: Any,
        bin_edges: Mapping[str, BinEdges],
        earlier_days: Sequence[DailyStatistics],
    ) -> dict[str, BinEdges]:
        """What scores a version gives to what was asked in the week before it came: so the scores of versions compare."""
        name = f"score@{version}"
        if name in bin_edges or not earlier_days:
            return {}
        last = earlier_days[-1].number
        rows = event_log.list_answers(
            self._shop_context.engine, scope, (last - 6) * clock.DAY, (last + 1) * clock.DAY, with_items=True,
            sample_bound=event_log.sample_bound(5 * _MAX_REPLAYED_ANSWERS / max(1, sum(d.count for d in earlier_days[-7:]))),
        )  # fmt: skip
        scores = [
            i.score
            for a in replay_requests(self._shop_context, rows)
            for i in loaded_bundle.answer(a.request, a.context).items[:10]
        ]
        return {name: fit_quantiles(np.array(scores))} if scores else {}

    def _text_encoder(self) -> TextEncoder | None:
        """Texts to vectors, by the encoder of the search that serves."""
        version = self._shop_context.champion("search")
        folder = self._shop_context.version_folder(version) / "text" if version else None
        return (
            plugins.load_module("models", "text", "online").TextEncoder(folder).documents
            if folder and folder.exists()
            else None
        )


def _bin_edges(earlier_days: Sequence[DailyStatistics]) -> Mapping[str, BinEdges]:
    return earlier_days[-1].rulers if earlier_days else {}


def _hour_starts(day_number: int) -> list[float]:
    return [day_number * clock.DAY + hour * _HOUR_SECONDS for hour in range(24)]


def _no_products(ids: Sequence[str]) -> np.ndarray:
    return np.full(len(ids), -1, np.int32)
