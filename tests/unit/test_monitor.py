"""Health and the decision to train again, on days of a world whose truth is known."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from vetrina.core.health_types import (
    BinEdges,
    CandidateUnderTest,
    CurrentWindow,
    DailyStatistics,
    Drift,
    HealthReport,
    ReferenceWindow,
)
from vetrina.core.logged_events import LoggedEvent
from vetrina.core.types import Interval
from vetrina.evaluation.moments import moments
from vetrina.monitor import monitor, persistent_drift
from vetrina.monitor.alerts import find_alerts
from vetrina.monitor.log_columns import AnswerColumns, ImpressionColumns
from vetrina.monitor.log_statistics import answer_statistics, event_statistics
from vetrina.monitor.prediction_statistics import label_sums
from vetrina.retrain import retrain
from vetrina.simulate.traffic import PriceShift, Traffic, write_catalogue_index
from vetrina.simulate.world import World

FIRST = 20_000
BEFORE = 21
UNIFORM = BinEdges(edges=tuple(np.linspace(0.0, 1.0, 65).tolist()))
QUIET = PriceShift()
SHIFT = PriceShift(0.3, 0.8)


class Days:
    """Days of one shop, measured as the first of them."""

    def __init__(self, folder) -> None:
        world = World(products=120, users=6_000)
        self.shelf = write_catalogue_index(world, folder)
        self.traffic = Traffic(world, 1_500)
        self.rulers = ({}, {})
        self.before = [self.of(FIRST + n) for n in range(BEFORE)]

    def of(
        self, number: int, shift: PriceShift = QUIET, clicks: float = 1.0
    ) -> tuple[DailyStatistics, DailyStatistics]:
        """A day; of its clicks only a share may have happened."""
        events, answers = self.traffic.day(number, shift)
        rng = np.random.default_rng(number)
        kept = answers.impressions.clicked & (rng.random(len(answers.impressions.clicked)) < clicks)
        answers = replace(answers, impressions=replace(answers.impressions, clicked=kept))
        shop = event_statistics(number, events, self.shelf, None, self.rulers[0])
        shown = answer_statistics("recommend", number, "v", answers, self.shelf, None, self.rulers[1])
        self.rulers = self.rulers if self.rulers[0] else (shop.rulers, shown.rulers)
        return shop, shown

    def report(self, day: tuple[DailyStatistics, DailyStatistics]) -> HealthReport:
        """The day beside those before."""
        window = CurrentWindow("recommend", *day, now=(day[0].number + 1) * 86_400.0)
        before = ReferenceWindow("v", FIRST * 86_400.0, 120, [s for s, _ in self.before], [a for _, a in self.before])
        return monitor(window, before)


@pytest.fixture(scope="module")
def days(tmp_path_factory) -> Days:
    """Three weeks to compare with."""
    return Days(tmp_path_factory.mktemp("shelf"))


def test_a_quiet_day_is_quiet_and_its_figures_are_right(days):
    quiet = [days.report(days.of(FIRST + BEFORE + n)) for n in range(3)]
    assert not persistent_drift(quiet)
    found = quiet[-1]
    assert len(found.drift) >= 8
    assert found.version_age_days == BEFORE + 3
    assert 0.9 < found.coverage <= 1.0
    assert found.click_delay_seconds == pytest.approx(20, rel=0.5), "the delays are log-normal around e^3 seconds"
    assert found.estimated_loss.low < 0.03
    assert found.calibration.low < 1.0 < found.calibration.high
    assert not find_alerts(quiet)


def test_a_planted_shift_is_found_by_name_on_its_second_day(days):
    reports = [days.report(days.of(FIRST + BEFORE))]
    reports += [days.report(days.of(FIRST + BEFORE + n, SHIFT)) for n in (1, 2)]
    assert not persistent_drift(reports[:2])
    assert set(persistent_drift(reports)) == {"price in events"}
    assert persistent_drift(reports)["price in events"].moved > 0.1
    assert [a.code for a in find_alerts(reports) if "drift" in a.code] == ["shop-drift:price in events"]


def test_lost_clicks_are_measured_with_an_interval_that_holds_the_truth(days):
    found = days.report(days.of(FIRST + BEFORE, clicks=0.7))
    assert found.estimated_loss.low < 0.3 < found.estimated_loss.high
    assert found.estimated_loss.low > 0.1
    assert found.calibration.low < 0.7 < found.calibration.high
    assert [a.code for a in find_alerts([found])] == ["loss", "calibration"]
    slight = days.report(days.of(FIRST + BEFORE, clicks=0.97))
    assert not find_alerts([slight]), "what one day cannot show is not called sure"


def test_what_the_version_before_lost_is_not_held_against_this_one(days):
    shop, answers = days.of(FIRST + BEFORE, clicks=0.5)
    found = days.report((shop, replace(answers, version="another")))
    assert found.estimated_loss is None
    assert found.calibration is None


def test_more_places_shown_is_not_a_loss():
    """The plain click rate a place falls when lower places are shown, too; clicks per place looked at do not."""
    rng = np.random.default_rng(6)

    def day(number: int, places: int) -> DailyStatistics:
        """1,000 answers; every product is equally wanted, lower places are looked at less."""
        n = 1_000
        answer = np.repeat(np.arange(n), places)
        place = np.tile(np.arange(places), n)
        clicked = rng.random(n * places) < 0.3 / (1.0 + 0.25 * place)
        item = np.zeros(n * places, np.int32)
        shown = ImpressionColumns(
            answer.astype(np.int32), place.astype(np.int32), rng.random(n * places), item, clicked
        )
        none = np.full(n, -1, np.int32)
        yes = np.ones(n, bool)
        unit = np.arange(n, dtype=np.int32)
        size = np.full(n, places, np.int32)
        answers = AnswerColumns(unit, np.zeros(n, np.int32), none, yes, size, yes, shown, np.empty(0), ("home",))
        return answer_statistics("recommend", number, "v", answers, None, None, {"score@v": UNIFORM})

    before = [day(FIRST + n, 10 if n % 2 else 5) for n in range(14)]
    found = monitor(
        CurrentWindow("recommend", DailyStatistics("shop", 1), day(FIRST + 14, 10), 0.0),
        ReferenceWindow("v", 0.0, 1, (), before),
    )
    five, ten = (sum(d.response.first[:10]) / sum(d.response.first[10:]) for d in before[:2])
    assert ten < 0.8 * five, "the plain rate falls by more than a fifth"
    assert found.estimated_loss.low < 0.0 < found.estimated_loss.high
    assert abs(found.estimated_loss.point) < 0.06


def test_what_cannot_be_evaluated_says_why(days):
    shop, answers = days.of(FIRST + BEFORE)
    young = ReferenceWindow("v", 0.0, 120, [s for s, _ in days.before[:3]], [a for _, a in days.before[:3]])
    found = monitor(CurrentWindow("recommend", shop, answers, 0.0), young)
    assert not found.drift
    assert "3 days" in found.not_evaluable["price in events"]
    assert found.estimated_loss is None
    empty = monitor(
        CurrentWindow("recommend", DailyStatistics("shop", 1), DailyStatistics("recommend", 1), 0.0),
        ReferenceWindow(None, None),
    )
    assert not empty.drift
    assert empty.coverage is None


def test_a_dead_feed_is_called_dead(days):
    _, answers = days.of(FIRST + BEFORE)
    found = days.report((DailyStatistics("shop", FIRST + BEFORE), answers))
    assert "shop-dead-feed" in [a.code for a in find_alerts([found])]
    skewed = days.report((days.of(FIRST + BEFORE)[0], replace(answers, replayed=(100, 0.6))))
    assert "skew" in [a.code for a in find_alerts([skewed])]


def test_a_day_survives_being_kept(days):
    for day in days.before[0]:
        assert msgspec.json.decode(msgspec.json.encode(day), type=DailyStatistics) == day


def a_label(request_id: str, position: int, value: float | None) -> LoggedEvent:
    """An event that reports the outcome of a row of a prediction."""
    return LoggedEvent(
        event_id="e",
        user="u",
        session=None,
        time=0.0,
        type="label",
        request_id=request_id,
        position=position,
        value=value,
    )


def test_labels_find_their_rows_whatever_else_is_sent():
    predictions = {"r": [0.9, 0.2]}
    labels = [
        a_label("r", 1, 1.0),
        a_label("r", 2, 0.0),
        a_label("r", 3, 0.0),
        a_label("other", 1, 1.0),
        a_label("r", 1, None),
    ]
    assert label_sums(labels, predictions) == pytest.approx((2.0, 1.1, 0.25, 1.0))
    assert label_sums(labels[2:], predictions) is None
    # Of numbers that usually miss by half, what came true counts as it is.
    assert label_sums(labels, predictions, 0.5) == pytest.approx((2.0, 1.1, 0.5, 1.0))


def test_calibration_of_predictions_is_happened_over_expected():
    unit = moments(np.arange(300), np.ones((300, 1)))
    day = DailyStatistics("predict", 1, "v", 300, 300, features={"x": unit}, labelled=(300.0, 60.0, 48.0, 90.0))
    found = monitor(
        CurrentWindow("predict", DailyStatistics("shop", 1), day, 0.0), ReferenceWindow("v", 0.0)
    ).calibration
    assert found.point == pytest.approx(1.5)
    assert found.low > 1.2


def report(**changes) -> HealthReport:
    """Nothing wrong."""
    known = {
        "scenario": "recommend",
        "version": "v",
        "day": 1,
        "events": 9,
        "answers": 9,
        "clicked": 1,
        "shoppers": 3,
        "new_products": 0,
        "version_age_days": 1.0,
        "drift": {},
        "not_evaluable": {},
        "estimated_loss": None,
        "calibration": None,
        "coverage": None,
        "click_delay_seconds": None,
        "replay_overlap": None,
    }
    return HealthReport(**known | changes)


def test_each_reason_to_train_and_drift_alone_never():
    assert retrain(report(version=None), (), 0, 0).retrain
    assert retrain(report(version_age_days=8.0), (), 100, 5).retrain
    assert not retrain(report(version_age_days=8.0), (), 100, 0).retrain, "no new data, nothing to learn"
    assert retrain(report(new_products=10), (), 100, 5).retrain
    assert retrain(report(estimated_loss=Interval(0.2, 0.05, 0.35)), (), 100, 5).retrain
    assert not retrain(report(), ("price",), 100, 5).retrain
    unsure = report(estimated_loss=Interval(0.1, -0.1, 0.3))
    found = retrain(unsure, ("price",), 100, 5)
    assert found.retrain
    assert "price" in found.why
    assert not retrain(unsure, (), 100, 5).retrain, "an unsure loss alone is not enough"


def test_while_a_canary_tests_a_candidate_only_its_age_retrains():
    lost = report(version_age_days=20.0, new_products=50, estimated_loss=Interval(0.2, 0.1, 0.3))
    assert not retrain(lost, (), 100, 5, CandidateUnderTest(13.9, 14.0)).retrain, "it may be the cure, and has its time"
    assert not retrain(lost, (), 100, 5, CandidateUnderTest(6.9, 1.0)).retrain
    assert not retrain(lost, (), 100, 0, CandidateUnderTest(20.0, 14.0)).retrain, "no new data, nothing to learn"
    decision = retrain(lost, (), 100, 5, CandidateUnderTest(14.0, 14.0))
    assert decision.retrain
    assert "candidate under test is 14 days old" in decision.why


def test_one_day_of_drift_is_not_persistent():
    drifted = report(drift={"price": Drift(0.5, 0.0, True)})
    calm = report(drift={"price": Drift(0.0, 0.5, False)})
    assert not persistent_drift([calm, calm, drifted])
    assert set(persistent_drift([drifted, calm, drifted])) == {"price"}
    assert not persistent_drift([drifted, drifted, calm, calm]), "what was three days ago is past"
