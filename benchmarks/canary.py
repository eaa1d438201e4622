"""Canaries, simulated under continuous looking: how often a decision is wrong, beside two rules that shops use today.

Protocol: 2,000 releases a row; clicks or revenue that are worse are what the release is decided by (``primary``). Every hour
new units arrive; the rules look every hour and ramp 1, 5, 20, 50 %; cap 14 days. Clicks: 5 % of units click. Revenue: 4 %
buy, for a log-normal sum (sigma 1.2), winsorised at its 99 % quantile. Latency: 1 % of answers are slow. "Worse by the
margin" is 2 % of clicks, 5 % of revenue, 0.5 points of slow answers.
The fixed threshold takes the candidate away when its rate since the step began is more than the margin below the
champion's in three looks in a row; the z-test when p < .05 at any look; both promote what is left after the last step.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.record import row
from vetrina.core.rollout_types import (
    AnswerCounts,
    OutcomeStatistics,
    PreReleaseStatistics,
    Rollout,
    RolloutEvidence,
    ShadowEvidence,
    StepEvidence,
)
from vetrina.core.settings import ReleaseSettings
from vetrina.evaluation.sequential import outcome_statistics
from vetrina.release.decision import decide, guardrail_limits

_HOUR = 3_600.0
_RELEASES = 2_000
_PARTS = 8
_CLICKS = 0.05
_BUY = 0.04
_SIGMA = 1.2
_SLOW = 0.01
_CAP = float(np.exp(1.2 * 2.326))


@dataclass(frozen=True)
class World:
    """Units that arrive in an hour and what the candidate changes: relative for clicks and revenue, points for slow."""

    hourly: int = 500
    clicks: float = 0.0
    revenue: float = 0.0
    slow: float = 0.0
    clicks_only: bool = False


@dataclass(frozen=True)
class End:
    """What became of a release, how many units met the candidate, and after how many hours."""

    outcome: str
    met: int
    hours: int


def ours(world: World, rng: np.random.Generator, rules: ReleaseSettings) -> End:
    """One release under the real decision function."""
    before = PreReleaseStatistics(
        100_000,
        100_000,
        {"clicks": 5_000, "revenue": 4_000},
        {"clicks": _CLICKS, "revenue": _expected_revenue()},
        _CAP,
        0.0,
        _SLOW,
    )
    rollout = Rollout("r", "recommend", "b", "a", "salt", 0.0, 0.0, rules.steps)
    shadow = ShadowEvidence(10_000, 0, 100, 5_000.0)
    outcomes: dict[str, OutcomeStatistics] = {"clicks": OutcomeStatistics(), "revenue": OutcomeStatistics()}
    steps: list[StepEvidence] = []
    met = 0
    for hour in range(1, int(rules.cap_days * 24) + 2):
        now = hour * _HOUR
        if rollout.step >= 0:
            canary, clicks, revenue, tally = _hour(world, rollout.candidate_share, rng)
            outcomes["clicks"] += outcome_statistics(
                canary, clicks, np.full(len(clicks), _CLICKS), rollout.candidate_share
            )
            if not world.clicks_only:
                outcomes["revenue"] += outcome_statistics(
                    canary, revenue, np.full(len(clicks), _expected_revenue()), rollout.candidate_share
                )
            here = (int((~canary).sum()), int(canary.sum()))
            last = steps[-1]
            steps[-1] = replace(
                last, units=(last.units[0] + here[0], last.units[1] + here[1]), tally=last.tally + tally
            )
            met += here[1]
        seen = RolloutEvidence(now, outcomes, tuple(steps), shadow)
        decision = decide(rollout, before, seen, rules, now)
        if decision.action == "advance":
            chosen = guardrail_limits(before, seen, rules)
            rollout = replace(rollout, step=rollout.following_step(), stepped=now, limits=chosen)
            steps.append(StepEvidence(rollout.candidate_share, (0, 0), AnswerCounts(), rollout.limits))
        elif decision.action != "stay":
            return End(decision.action, met, hour)
    raise AssertionError("the cap ends every release")


def threshold(world: World, rng: np.random.Generator, rules: ReleaseSettings) -> End:
    """Fixed rule: three looks in a row more than the margin below the champion."""
    strikes = 0

    def judge(seen: OutcomeStatistics) -> bool:
        nonlocal strikes
        below = min(seen.units) > 0 and seen.mean(1) < (1 - rules.margin_clicks) * seen.mean(0)
        strikes = strikes + 1 if below else 0
        return strikes >= 3

    return _peeked(world, rng, rules, judge)


def z_test(world: World, rng: np.random.Generator, rules: ReleaseSettings) -> End:
    """A two-sided test at .05 that is looked at every hour."""

    def judge(seen: OutcomeStatistics) -> bool:
        if min(seen.active) < 5:
            return False
        n0, n1 = seen.units
        pooled = sum(seen.active) / (n0 + n1)
        return (seen.mean(1) - seen.mean(0)) / np.sqrt(pooled * (1 - pooled) * (1 / n0 + 1 / n1)) < -1.96

    return _peeked(world, rng, rules, judge)


def _peeked(
    world: World, rng: np.random.Generator, rules: ReleaseSettings, judge: Callable[[OutcomeStatistics], bool]
) -> End:
    met = 0
    hours = 0
    a_step = int(rules.cap_days * 24 / len(rules.steps))
    for share in rules.steps:
        seen = OutcomeStatistics()
        for _ in range(a_step):
            hours += 1
            canary, clicks, _, _ = _hour(replace(world, clicks_only=True), share, rng)
            seen += outcome_statistics(canary, clicks, np.zeros(len(clicks)), share)
            met += int(canary.sum())
            if judge(seen):
                return End("roll back", met, hours)
    return End("promote", met, hours)


def _hour(world: World, share: float, rng: np.random.Generator):
    n = rng.poisson(world.hourly)
    canary = rng.random(n) < share
    clicks = (rng.random(n) < _CLICKS * np.where(canary, 1 + world.clicks, 1.0)).astype(float)
    revenue = np.zeros(n)
    if not world.clicks_only:
        bought = rng.random(n) < _BUY
        paid = np.exp(rng.normal(0.0, _SIGMA, int(bought.sum()))) * np.where(canary[bought], 1 + world.revenue, 1.0)
        revenue[bought] = np.minimum(paid, _CAP)
    n1 = int(canary.sum())
    slow = (int(rng.binomial(n - n1, _SLOW)), int(rng.binomial(n1, _SLOW + world.slow)))
    return canary, clicks, revenue, AnswerCounts((n - n1, n1), (0, 0), slow)


_KNOWN: list[float] = []


def _expected_revenue() -> float:
    if not _KNOWN:
        paid = np.exp(np.random.default_rng(0).normal(0.0, _SIGMA, 1_000_000))
        _KNOWN.append(_BUY * float(np.minimum(paid, _CAP).mean()))
    return _KNOWN[0]


def _ends(world: World, rule: Callable[..., End], rules: ReleaseSettings, times: int) -> list[End]:
    """Releases with seeds of their own, on all cores."""
    with ProcessPoolExecutor() as pool:
        jobs = [pool.submit(_some, world, rule, rules, range(start, times, _PARTS)) for start in range(_PARTS)]
        return [end for job in jobs for end in job.result()]


def _some(world: World, rule: Callable[..., End], rules: ReleaseSettings, seeds: range) -> list[End]:
    return [rule(world, np.random.default_rng([7, n]), rules) for n in seeds]


def _line(name: str, world: World, rule: Callable[..., End], rules: ReleaseSettings, times: int = _RELEASES) -> None:
    ends = _ends(world, rule, rules, times)
    share = Counter(e.outcome for e in ends)
    met = np.median([e.met for e in ends])
    hours = np.median([e.hours for e in ends])
    parts = ", ".join(f"{k} {_interval(v, times)}" for k, v in sorted(share.items()))
    row(name, parts, f"{times:,} releases, median {met:,.0f} units met it, {hours:.0f} h")


def _interval(count: int, of: int) -> str:
    """Share with its 95 % Wilson interval."""
    p = count / of
    z = 1.96
    middle = p + z * z / (2 * of)
    half = z * np.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return f"{p:.1%} [{(middle - half) / (1 + z * z / of):.1%}, {(middle + half) / (1 + z * z / of):.1%}]"


def main() -> None:
    """Errors first, then power, then the large shop."""
    rules = ReleaseSettings()
    by_revenue = ReleaseSettings(primary_metric="revenue")
    _line("equal candidate", World(), ours, rules)
    _line("clicks worse by the margin", World(clicks=-0.02, clicks_only=True), ours, rules)
    _line("revenue worse by the margin", World(revenue=-0.05), ours, by_revenue)
    _line("slow answers worse by the margin", World(slow=0.005), ours, rules)
    for hourly in (500, 2_000, 8_000):
        _line(f"clicks 10 % worse, {hourly:,} units/h", World(hourly, -0.1, clicks_only=True), ours, rules, 200)
        _line(f"equal, {hourly:,} units/h", World(hourly, clicks_only=True), ours, rules, 200)
        _line(f"clicks 10 % better, {hourly:,} units/h", World(hourly, 0.1, clicks_only=True), ours, rules, 200)
    for name, rule in (("fixed threshold", threshold), ("peeked z-test", z_test)):
        _line(f"{name}: equal candidate", World(), rule, rules, 500)
        _line(f"{name}: clicks worse by the margin", World(clicks=-0.02), rule, rules, 500)
    users = 5_000_000
    hourly = users // (14 * 24)
    for name, change in (("10 % worse", -0.1), ("10 % better", 0.1)):
        for rule in (ours, threshold, z_test):
            world = World(hourly, change, clicks_only=True)
            ends = _ends(world, rule, rules, 50)
            met = float(np.median([e.met for e in ends])) / users
            share = Counter(e.outcome for e in ends)
            row(
                f"5 M users, clicks {name}, {rule.__name__}",
                str(dict(share)),
                f"met by {met:.2%} of all users (median)",
            )
