"""Daily statistics of events, answers and predictions, computed once from the log and stored for monitoring."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.core import clock
from vetrina.core.arrays import Ints
from vetrina.core.errors import NotFound, OtherFormat
from vetrina.core.exposures import Exposure
from vetrina.core.health_types import SHOP_SCOPE, BinEdges, DailyStatistics
from vetrina.core.logged_events import LoggedEvent
from vetrina.core.progress import track
from vetrina.core.rollout_types import CHAMPION
from vetrina.data import dataset
from vetrina.monitor.bin_edges import fit_quantiles
from vetrina.monitor.log_reader import AnswerReader, EventReader, IndexLookup
from vetrina.monitor.log_statistics import TextEncoder, answer_statistics, event_statistics
from vetrina.monitor.prediction_statistics import LABEL_EVENT, label_sums, prediction_statistics, read_predictions
from vetrina.pipeline.replay import replay_overlap, replay_requests
from vetrina.pipeline.shop_context import ShopContext
from vetrina.scenarios.base import (
    LoadedBundle,
    PredictionBundle,
    PredictionScenario,
    RankingBundle,
    RankingScenario,
    find_scenario,
    scenario_names,
)
from vetrina.store import daily_statistics, event_queries, exposure_queries

RETENTION_DAYS = 56
_TEXT_MODEL = "text"  # whose encoder embeds titles and queries
_HOUR_SECONDS = 3_600.0
_LOG_DELAY_SECONDS = (
    3_600.0  # a day is read an hour after its end, so that the clicks on its last answers are in the log
)
_MAX_ANSWERS = 50_000  # read from one day; of more, a sample
_MAX_REPLAYED_ANSWERS = 100  # of one day
_BIN_EDGE_DAYS = 7  # before a version's first day, whose requests give the bin edges of its scores
_MAX_BIN_EDGE_ANSWERS = 5 * _MAX_REPLAYED_ANSWERS
_MAX_BIN_EDGE_POSITIONS = 10  # of an answer

DayReader = Callable[[str, int, Sequence[DailyStatistics]], DailyStatistics]


def last_full_day(now: float) -> int:
    """The number of the newest day that is complete in the log, in days since 1970 (UTC)."""
    return int((now - _LOG_DELAY_SECONDS) // clock.DAY) - 1


class DailyStatisticsReader:
    """Daily statistics of one shop. A day is read from the log once, by whichever process needs it first."""

    def __init__(self, shop_context: ShopContext, now: float) -> None:
        self._shop_context = shop_context
        self._now = now
        self._last_day = last_full_day(now)

    def load_days(self, scope: str) -> list[DailyStatistics]:
        """All days of a scope (the shop, or a scenario) within the retention time, oldest first; new ones are read now."""
        engine = self._shop_context.engine
        oldest_day = self._last_day - RETENTION_DAYS
        days = daily_statistics.load_since(engine, scope, oldest_day)
        stored_numbers = {day.number for day in days}
        first_day = self._first_day_of(days)
        unread = [n for n in range(max(first_day, oldest_day), self._last_day + 1) if n not in stored_numbers]
        if unread:
            read_day = self._reader_for(scope)
            for number in track(self._shop_context.progress, f"{scope}: days of the log", unread):
                earlier_days = [day for day in days if day.number < number]
                day = read_day(scope, number, earlier_days)
                daily_statistics.save(engine, day)
                days.append(day)
        return sorted(days, key=lambda day: day.number)

    def training_statistics(self, scope: str, version: str | None) -> DailyStatistics | None:
        """Statistics of a version's training data, for scenarios whose days are compared with it (predictions)."""
        if version is None or not isinstance(find_scenario(scope), PredictionScenario):
            return None
        engine = self._shop_context.engine
        name = f"learnt:{version}"
        stored = daily_statistics.load_since(engine, name, 0)
        if stored:
            return stored[0]
        predictor = self._load_version(scope, version)
        try:
            record = self._shop_context.registry.get_version(version)
            snapshot = dataset.open_snapshot(self._shop_context.folder.snapshots, record.snapshot)
        except NotFound:
            return None
        table = dataset.table(snapshot)
        if table is None or not isinstance(predictor, PredictionBundle):
            return None
        bins = predictor.encoding.bins(table.columns)
        predictions = predictor.predict(table.columns)
        scale = predictor.encoding.number
        if scale is not None:
            predictions = scale.inverse_transform(predictions)
        statistics = prediction_statistics(name, 0, version, predictor.encoding, bins, predictions, {})
        daily_statistics.save(engine, statistics)
        return daily_statistics.load_since(engine, name, 0)[0]

    def catalogue(self, version: str | None) -> CatalogueIndex | None:
        """The catalogue of a version; None where its files are gone, cannot be read, or hold no catalogue."""
        if not version:
            return None
        try:
            folder = self._shop_context.version_folder(version) / "catalogue"
        except (NotFound, OtherFormat):
            return None
        if not folder.exists():
            return None
        return CatalogueIndex(folder)

    def _first_day_of(self, days: Sequence[DailyStatistics]) -> int:
        """The first stored day, else the first day of the log."""
        if days:
            return days[0].number
        engine = self._shop_context.engine
        first_times = (event_queries.first_event_time(engine), exposure_queries.first_exposure_time(engine))
        logged_times = [time for time in first_times if time is not None]
        if not logged_times:
            return self._last_day
        return int(min(logged_times) // clock.DAY)

    def _reader_for(self, scope: str) -> DayReader:
        if scope == SHOP_SCOPE:
            return self._read_shop_day
        scenario = find_scenario(scope)
        if isinstance(scenario, RankingScenario):
            return self._read_answers_day
        if isinstance(scenario, PredictionScenario):
            return self._read_predictions_day
        return self._read_answer_counts

    def _load_version(self, scope: str, version: str) -> LoadedBundle | None:
        """A version opened for serving; None if its files were removed, or cannot be read any more."""
        try:
            folder = self._shop_context.version_folder(version)
            return find_scenario(scope).load(folder)
        except (NotFound, OtherFormat):
            return None

    def _read_shop_day(self, scope: str, day_number: int, earlier_days: Sequence[DailyStatistics]) -> DailyStatistics:
        """Statistics of what users did."""
        catalogue = self._ranking_catalogue()
        reader = EventReader(_index_lookup(catalogue))
        for start in _hour_starts(day_number):
            reader.add(event_queries.list_events(self._shop_context.engine, start, start + _HOUR_SECONDS))
        return event_statistics(day_number, reader.columns(), catalogue, self._text_encoder(), _bin_edges(earlier_days))

    def _ranking_catalogue(self) -> CatalogueIndex | None:
        """The catalogue of the first scenario that serves and ranks it."""
        for scenario in _catalogue_scenarios():
            catalogue = self.catalogue(self._shop_context.champion(scenario.name))
            if catalogue is not None:
                return catalogue
        return None

    def _read_answers_day(
        self, scope: str, day_number: int, earlier_days: Sequence[DailyStatistics]
    ) -> DailyStatistics:
        """Statistics of the answers of the champion that gave most of them; a candidate's are left out."""
        day_start = day_number * clock.DAY
        counts = exposure_queries.count_exposures(self._shop_context.engine, scope, day_start, day_start + clock.DAY)
        champion_counts = {version: count for (version, arm), count in counts.items() if arm == CHAMPION}
        if not champion_counts:
            return DailyStatistics(scope, day_number, rulers=_bin_edges(earlier_days))
        version = max(champion_counts, key=lambda candidate: champion_counts[candidate])
        bin_edges = _without_other_scores(_bin_edges(earlier_days), version)
        catalogue = self.catalogue(version)
        reader = AnswerReader(_index_lookup(catalogue))
        sample_bound = exposure_queries.sample_bound(_MAX_ANSWERS / sum(counts.values()))
        answers = self._read_champion_answers(scope, day_number, version, sample_bound, reader)
        bundle = self._load_version(scope, version)
        replayed = None
        if isinstance(bundle, RankingBundle):
            bin_edges |= self._score_bin_edges(scope, version, bundle, bin_edges, earlier_days)
            by_request_id = sorted(answers, key=lambda answer: answer.request_id)  # ids are random: a random sample
            replayed = replay_overlap(self._shop_context, bundle, by_request_id[:_MAX_REPLAYED_ANSWERS])
        statistics = answer_statistics(
            scope, day_number, version, reader.columns(), catalogue, self._text_encoder(), bin_edges
        )
        return replace(statistics, replayed=replayed, count=champion_counts[version])

    def _read_champion_answers(
        self, scope: str, day_number: int, version: str, sample_bound: str, reader: AnswerReader
    ) -> list[Exposure]:
        """Add a version's answers as champion to a reader, hour by hour with the events that follow; returns the answers."""
        engine = self._shop_context.engine
        champion_answers: list[Exposure] = []
        for start in _hour_starts(day_number):
            end = start + _HOUR_SECONDS
            answers = exposure_queries.list_exposures(
                engine, scope, start, end, with_items=True, sample_bound=sample_bound
            )
            own_answers = [answer for answer in answers if answer.version == version and answer.arm == CHAMPION]
            reader.add(own_answers, event_queries.list_events(engine, start, end + _LOG_DELAY_SECONDS))
            champion_answers += own_answers
        return champion_answers

    def _read_answer_counts(
        self, scope: str, day_number: int, earlier_days: Sequence[DailyStatistics]
    ) -> DailyStatistics:
        """Only the number of answers, for audiences, which no customer sees."""
        day_start = day_number * clock.DAY
        counts = exposure_queries.count_exposures(self._shop_context.engine, scope, day_start, day_start + clock.DAY)
        version = _most_frequent_version(counts)
        return DailyStatistics(scope, day_number, version, sum(counts.values()), rulers=_bin_edges(earlier_days))

    def _read_predictions_day(
        self, scope: str, day_number: int, earlier_days: Sequence[DailyStatistics]
    ) -> DailyStatistics:
        """Statistics of the predictions of the version that gave most of them, and of the labels that came in."""
        engine = self._shop_context.engine
        day_start = day_number * clock.DAY
        day_end = day_start + clock.DAY
        counts = exposure_queries.count_exposures(engine, scope, day_start, day_end)
        version = _most_frequent_version(counts)
        if version is None:
            return DailyStatistics(scope, day_number)
        sample_bound = exposure_queries.sample_bound(_MAX_ANSWERS / sum(counts.values()))
        all_answers = exposure_queries.list_exposures(
            engine, scope, day_start, day_end, with_items=True, sample_bound=sample_bound
        )
        answers = [answer for answer in all_answers if answer.version == version]
        labels = self._label_events(day_number)
        training = self.training_statistics(scope, version)
        predictor = self._load_version(scope, version)
        if not isinstance(predictor, PredictionBundle):
            return DailyStatistics(scope, day_number, version, sum(counts.values()))
        request_ids = {label.request_id for label in labels if label.request_id}
        labelled_answers = exposure_queries.exposures_by_request_id(engine, request_ids, scope)
        labelled_predictions = {}
        for request_id, answer in labelled_answers.items():
            labelled_predictions[request_id] = [item.predicted for item in answer.items]
        bin_edges: Mapping[str, BinEdges] = {}
        if training is not None:
            bin_edges = training.rulers
        bins, predictions = read_predictions(answers)
        return prediction_statistics(
            scope,
            day_number,
            version,
            predictor.encoding,
            bins,
            predictions,
            bin_edges,
            label_sums(labels, labelled_predictions, predictor.rmse),
        )

    def _label_events(self, day_number: int) -> list[LoggedEvent]:
        """The day's events that report the outcome of a prediction."""
        labels: list[LoggedEvent] = []
        for start in _hour_starts(day_number):
            events = event_queries.list_events(self._shop_context.engine, start, start + _HOUR_SECONDS)
            labels += [event for event in events if event.type == LABEL_EVENT]
        return labels

    def _score_bin_edges(
        self,
        scope: str,
        version: str,
        loaded_bundle: RankingBundle,
        bin_edges: Mapping[str, BinEdges],
        earlier_days: Sequence[DailyStatistics],
    ) -> dict[str, BinEdges]:
        """Bin edges of a new version's scores, on requests of the week before its first day; nothing where it has them.

        They make the scores of different versions comparable.

        Args:
            scope: Scenario.
            version: Version.
            loaded_bundle: The version, opened for serving.
            bin_edges: Bin edges of earlier days.
            earlier_days: Statistics of earlier days, oldest first.
        """
        name = f"score@{version}"
        if name in bin_edges or not earlier_days:
            return {}
        last_day = earlier_days[-1].number
        n_answers = sum(day.count for day in earlier_days[-_BIN_EDGE_DAYS:])
        answers = exposure_queries.list_exposures(
            self._shop_context.engine,
            scope,
            (last_day - _BIN_EDGE_DAYS + 1) * clock.DAY,
            (last_day + 1) * clock.DAY,
            with_items=True,
            sample_bound=exposure_queries.sample_bound(_MAX_BIN_EDGE_ANSWERS / max(1, n_answers)),
        )
        scores = []
        for replay in replay_requests(self._shop_context, answers):
            items = loaded_bundle.answer(replay.request, replay.context).items
            scores += [item.score for item in items[:_MAX_BIN_EDGE_POSITIONS]]
        if not scores:
            return {}
        return {name: fit_quantiles(np.array(scores))}

    def _text_encoder(self) -> TextEncoder | None:
        """The text encoder of the first scenario that serves with one."""
        from vetrina.models.text import online  # opens libraries of indexes and tokens, which only this needs

        for scenario in _catalogue_scenarios():
            version = self._shop_context.champion(scenario.name)
            if not version or _TEXT_MODEL not in scenario.recipe.models:
                continue
            folder = self._shop_context.version_folder(version) / _TEXT_MODEL
            if folder.exists():
                return online.TextEncoder(folder).encode_documents
        return None


def _catalogue_scenarios() -> list[RankingScenario]:
    """Scenarios that rank the whole catalogue, those with a text encoder first."""
    ranking_scenarios = []
    for name in scenario_names():
        scenario = find_scenario(name)
        if isinstance(scenario, RankingScenario) and scenario.ranks_whole_catalogue:
            ranking_scenarios.append(scenario)
    return sorted(ranking_scenarios, key=lambda scenario: _TEXT_MODEL not in scenario.recipe.models)


def _most_frequent_version(counts: Mapping[tuple[str, str], int]) -> str | None:
    """The version with the highest count of answers by (version, arm); None without answers."""
    if not counts:
        return None
    version, _ = max(counts, key=lambda version_and_arm: counts[version_and_arm])
    return version


def _without_other_scores(bin_edges: Mapping[str, BinEdges], version: str) -> dict[str, BinEdges]:
    """Bin edges without those of other versions' scores."""
    own = f"score@{version}"
    return {name: edges for name, edges in bin_edges.items() if name == own or not name.startswith("score@")}


def _bin_edges(earlier_days: Sequence[DailyStatistics]) -> Mapping[str, BinEdges]:
    """The bin edges of the newest day, which hold those of all days before."""
    if not earlier_days:
        return {}
    return earlier_days[-1].rulers


def _hour_starts(day_number: int) -> list[float]:
    """The log is read by the hour: a day of it may be larger than memory."""
    day_start = day_number * clock.DAY
    return [day_start + hour * _HOUR_SECONDS for hour in range(24)]


def _index_lookup(catalogue: CatalogueIndex | None) -> IndexLookup:
    """Product ids to catalogue indices; without a catalogue every product is unknown."""
    if catalogue is None or not len(catalogue):
        return _no_products
    return catalogue.index_of


def _no_products(product_ids: Sequence[str]) -> Ints:
    return np.full(len(product_ids), -1, np.int32)
