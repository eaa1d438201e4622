"""Releases of shops with 300, 1,000 and 10,000 visitors a day, simulated over 90 days.

Every model is trained a week after the one before (the retraining policy's age), every fourth one is a change of settings, the
others are refreshes; all are equally good and pass the gate. A run takes an hour. Kind of change, days to a decision, release and
watch are decided by the product's own functions, once a day; the version before answers 10 % of users. Half of a day's visitors
are new, the others come every tenth day; a unit counts once in a watch. 5 % of units click, 4 % buy for a heavy-tailed sum
(log-normal, sigma 1.2), 1 % of answers are slow, 0.1 % fail. 200 shops a row, 95 % Wilson interval. How soon a worse refresh goes
is simulated with 10,000 visitors a day and no cap; how many go within a watch, with each size: a watch lasts 14 days, or 7 where
the next weekly refresh ends it.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.record import heading, note, row
from vetrina.core.rollout_types import (
    CLICKS,
    CONVERSION,
    REVENUE,
    AnswerCounts,
    OutcomeStatistics,
    PreReleaseStatistics,
    Rollout,
    RolloutEvidence,
    StepEvidence,
)
from vetrina.core.settings import ReleaseSettings
from vetrina.core.verdicts import Verdict
from vetrina.evaluation.sequential import outcome_statistics
from vetrina.release import (
    LiveTraffic,
    TrafficEstimate,
    VersionOrigin,
    days_to_decision,
    decide_release,
    kind_of_change,
)
from vetrina.release.decision import decide, guardrail_limits
from vetrina.release.decision_time import units_to_decision
from vetrina.retrain.retrain import MAX_AGE_DAYS

_DAY = 86_400.0
_DAYS = 90
_SHOPS = 200
_PROCESSES = 2
_VISITORS = (300, 1_000, 10_000)  # a day
_RUN_HOURS = 1.0
_CHANGE_EVERY = 4  # trainings
_NEW_VISITORS = 0.5  # share of a day's visitors
_REGULAR_INTERVAL_DAYS = 10.0
_CLICK_RATE = 0.05
_PURCHASE_RATE = 0.04
_SIGMA = 1.2
_SLOW_RATE = 0.01
_FAULT_RATE = 0.001
_REVENUE_CAP = float(np.exp(_SIGMA * 2.326))  # 99 % quantile
_MEAN_REVENUE = 1.95  # of a purchase, capped
_NO_CAP_DAYS = 365.0
_PASSED = Verdict("v", "judged", "before", "pass", (), None)
_BEFORE = PreReleaseStatistics(
    100_000,
    100_000,
    {CLICKS: 5_000, CONVERSION: 4_000, REVENUE: 4_000},
    {CLICKS: _CLICK_RATE, CONVERSION: _PURCHASE_RATE, REVENUE: _PURCHASE_RATE * _MEAN_REVENUE},
    _REVENUE_CAP,
    _FAULT_RATE,
    _SLOW_RATE,
)


@dataclass(frozen=True)
class Harm:
    """What a refresh makes worse: relative loss of clicks, and share of answers that fail in addition."""

    clicks: float = 0.0
    faults: float = 0.0


@dataclass
class Watch:
    """A watch with its evidence, day by day."""

    rollout: Rollout
    settings: ReleaseSettings
    outcomes: dict[str, OutcomeStatistics] = field(default_factory=dict)
    step: StepEvidence | None = None
    n_days: int = 0
    n_users_with_it: int = 0

    def next_day(self, visitors: int, harm: Harm, rng: np.random.Generator) -> str:
        """The action after one more day."""
        self.n_days += 1
        share = self.rollout.candidate_share
        is_candidate = rng.random(_new_units(visitors, self.n_days, rng)) < share
        self.n_users_with_it += int(is_candidate.sum())
        self._add_outcomes(is_candidate, harm, rng)
        self._add_answers(is_candidate, visitors, harm, rng)
        now = self.rollout.started + self.n_days * _DAY
        evidence = RolloutEvidence(now, self.outcomes, () if self.step is None else (self.step,))
        return decide(self.rollout, _BEFORE, evidence, self.settings, now).action

    def _add_outcomes(self, is_candidate: np.ndarray, harm: Harm, rng: np.random.Generator) -> None:
        n_units = len(is_candidate)
        click_rate = _CLICK_RATE * np.where(is_candidate, 1.0 - harm.clicks, 1.0)
        clicks = (rng.random(n_units) < click_rate).astype(float)
        purchases = (rng.random(n_units) < _PURCHASE_RATE).astype(float)
        paid = np.minimum(np.exp(rng.normal(0.0, _SIGMA, n_units)), _REVENUE_CAP)
        for name, outcome in ((CLICKS, clicks), (CONVERSION, purchases), (REVENUE, purchases * paid)):
            expected = np.full(n_units, _BEFORE.means[name])
            statistics = outcome_statistics(is_candidate, outcome, expected, self.rollout.candidate_share)
            self.outcomes[name] = self.outcomes.get(name, OutcomeStatistics()) + statistics

    def _add_answers(self, is_candidate: np.ndarray, visitors: int, harm: Harm, rng: np.random.Generator) -> None:
        """One answer of each of the day's visitors."""
        n_candidate = int(rng.binomial(visitors, self.rollout.candidate_share))
        n_before = visitors - n_candidate
        faults = (int(rng.binomial(n_before, _FAULT_RATE)), int(rng.binomial(n_candidate, _FAULT_RATE + harm.faults)))
        slow = (int(rng.binomial(n_before, _SLOW_RATE)), int(rng.binomial(n_candidate, _SLOW_RATE)))
        tally = AnswerCounts((n_before, n_candidate), faults, slow)
        units = (int((~is_candidate).sum()), int(is_candidate.sum()))
        if self.step is None:
            self.step = StepEvidence(self.rollout.candidate_share, (0, 0), AnswerCounts(), self.rollout.limits)
        all_units = (self.step.units[0] + units[0], self.step.units[1] + units[1])
        self.step = replace(self.step, units=all_units, tally=self.step.tally + tally)


@dataclass
class Life:
    """What happened to a shop in 90 days."""

    old_days: float = 0.0  # on a model older than the retraining policy allows
    refreshes: int = 0
    refreshes_rolled_back: int = 0
    changes: int = 0
    changes_tested: int = 0


@dataclass(frozen=True)
class End:
    """How the watch of a worse refresh ended, after how many days, and how many users were served by it."""

    action: str
    days: int
    users: int


def main() -> None:
    """Equal versions over 90 days first, then worse ones."""
    settings = ReleaseSettings()
    with ProcessPoolExecutor(_PROCESSES) as pool:
        heading("Over 90 days, all versions equally good")
        for visitors in _VISITORS:
            _report_lives(visitors, list(pool.map(_live, [visitors] * _SHOPS, range(_SHOPS), chunksize=10)))
        heading("A worse refresh")
        for name, harm in (
            ("10 % fewer clicks", Harm(clicks=0.1)),
            ("50 % fewer clicks", Harm(clicks=0.5)),
            ("1 % of answers fail", Harm(faults=0.009)),
        ):
            ends = list(pool.map(_watch_uncapped, [harm] * _SHOPS, range(_SHOPS), chunksize=10))
            users = [end.users for end in ends if end.action == "roll back"]
            figure = f"median {np.median(users):,.0f}, 90 % within {np.quantile(users, 0.9):,.0f}"
            row(f"{name}: users served until it is rolled back", figure, f"{len(users)} of {len(ends)} rolled back")
            for visitors in _VISITORS:
                ends = list(pool.map(_watch_capped, [visitors] * _SHOPS, [harm] * _SHOPS, range(_SHOPS), chunksize=10))
                days = [end.days for end in ends if end.action == "roll back"]
                within_week = sum(n_days <= MAX_AGE_DAYS for n_days in days)
                figure = (
                    f"{_interval(within_week, len(ends))} within 7 days, {_interval(len(days), len(ends))} within 14"
                )
                row(f"{name}: rolled back with {visitors:,} visitors a day", figure)
    units = units_to_decision(_traffic(1.0), settings)
    needed = units / (settings.cap_days - 1)
    note(
        f"A canary needs about {units:,.0f} units for the margin of {settings.margin_clicks:.0%} of clicks, so changes are "
        f"tested live from about {needed:,.0f} users a day on. A watch needs many users to show fewer clicks because a tenth is "
        "held back and the margin must be exceeded beyond doubt at every look; with holdback_share = 0.5 about a third suffice."
    )


def _report_lives(visitors: int, lives: list[Life]) -> None:
    name = f"{visitors:,} visitors a day"
    old_share = sum(life.old_days for life in lives) / (_DAYS * len(lives))
    row(f"{name}: time on a model older than 7 days", f"{old_share:.1%}", "goal <= 5 %")
    refreshes = sum(life.refreshes for life in lives)
    rolled_back = sum(life.refreshes_rolled_back for life in lives)
    row(f"{name}: equal refreshes rolled back", _interval(rolled_back, refreshes), "goal <= 5 %")
    changes = sum(life.changes for life in lives)
    tested = sum(life.changes_tested for life in lives)
    days = days_to_decision(_traffic(visitors), ReleaseSettings())
    row(
        f"{name}: changes with a live decision", f"{tested:,} of {changes:,}", f"a decision would take {days:,.0f} days"
    )


def _live(visitors: int, seed: int) -> Life:
    """90 days of a shop that trains whenever its model is a week old."""
    rng = np.random.default_rng([11, visitors, seed])
    settings = ReleaseSettings()
    life = Life()
    traffic = _traffic(visitors)
    live_traffic = LiveTraffic(visitors, traffic.units_per_day, days_to_decision(traffic, settings))
    recipe = 0
    champion_built = 0
    champion_before_built = 0
    n_trained = 0
    watch: Watch | None = None
    watched_kind = ""
    for day in range(1, _DAYS + 1):
        if watch is not None:
            action = watch.next_day(visitors, Harm(), rng)
            if action == "roll back":
                champion_built = champion_before_built
                life.refreshes_rolled_back += watched_kind == "refresh"
            if action != "stay":
                watch = None
        if day - champion_built < MAX_AGE_DAYS:
            continue
        n_trained += 1
        is_change = n_trained % _CHANGE_EVERY == 0
        new_recipe = recipe + is_change
        kind = kind_of_change(VersionOrigin(str(new_recipe)), VersionOrigin(str(recipe)))
        decision = decide_release("recommend", "new", "before", kind, _PASSED, live_traffic, settings)
        life.refreshes += kind == "refresh"
        life.changes += kind == "change"
        life.changes_tested += decision.outcome == "testing"
        assert decision.is_watched, "no shop of this size can decide a canary"
        life.old_days += _RUN_HOURS / 24
        watch = _new_watch(settings)
        watched_kind = kind
        recipe = new_recipe
        champion_before_built = champion_built
        champion_built = day
    return life


def _watch_uncapped(harm: Harm, seed: int) -> End:
    return _watch(_VISITORS[-1], harm, ReleaseSettings(cap_days=_NO_CAP_DAYS), seed)


def _watch_capped(visitors: int, harm: Harm, seed: int) -> End:
    return _watch(visitors, harm, ReleaseSettings(), seed)


def _watch(visitors: int, harm: Harm, settings: ReleaseSettings, seed: int) -> End:
    """One watch of a worse refresh, to its end."""
    rng = np.random.default_rng([12, visitors, seed])
    watch = _new_watch(settings)
    while True:
        action = watch.next_day(visitors, harm, rng)
        if action != "stay":
            return End(action, watch.n_days, watch.n_users_with_it)


def _new_watch(settings: ReleaseSettings) -> Watch:
    limits = guardrail_limits(_BEFORE, RolloutEvidence(0.0), settings)
    shares = (1.0 - settings.holdback_share,)
    return Watch(
        Rollout("w", "recommend", "new", "before", "salt", 0.0, 0.0, shares, 0, limits, kind="watch"), settings
    )


def _traffic(visitors: float) -> TrafficEstimate:
    """What the 14 days before a release say: every visitor of a day counted as another one, which favours a decision."""
    return TrafficEstimate(visitors, _CLICK_RATE, _CLICK_RATE * (1.0 - _CLICK_RATE), _CLICK_RATE)


def _new_units(visitors: int, day: int, rng: np.random.Generator) -> int:
    """Visitors of a day of the watch who were not there on an earlier day of it."""
    first_visits_of_regulars = (1.0 - _NEW_VISITORS) * np.exp(-(day - 1) / _REGULAR_INTERVAL_DAYS)
    return int(rng.poisson(visitors * (_NEW_VISITORS + first_visits_of_regulars)))


def _interval(count: int, of: int) -> str:
    """Share with its 95 % Wilson interval."""
    z = 1.96
    share = count / of
    middle = share + z * z / (2 * of)
    half = z * np.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    low = max(0.0, middle - half) / (1 + z * z / of)
    high = (middle + half) / (1 + z * z / of)
    return f"{share:.1%} [{low:.1%}, {high:.1%}]"
