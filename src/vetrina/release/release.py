"""Release stage, pure: whether a version is promoted at once, promoted and watched, or tested in a canary.

The pipeline acts on the decision.
"""

from dataclasses import dataclass
from math import isinf

from vetrina.core.settings import ReleaseSettings
from vetrina.core.verdicts import KindOfChange, ReleaseResult, Verdict


@dataclass(frozen=True)
class LiveTraffic:
    """Users who are there to test a version.

    Attributes:
        answers_last_day: Number of answers shown in the last 24 hours.
        users_per_day: Number of users a day.
        days_to_decision: Days until a canary can be decided.
    """

    answers_last_day: int = 0
    users_per_day: float = 0.0
    days_to_decision: float = float("inf")


def decide_release(
    scenario: str,
    version: str,
    champion: str | None,
    kind: KindOfChange,
    verdict: Verdict,
    traffic: LiveTraffic,
    settings: ReleaseSettings,
) -> ReleaseResult:
    """Promote a version that passed the gate, or start a canary for a change that the traffic can decide.

    A first version, and any version while nobody looks, is promoted by the verdict. A refresh and the first full recipe after a
    quick one are promoted and watched. A change is tested in a canary, or, where that would take longer than the cap, promoted
    and watched.

    Args:
        scenario: Scenario of the version.
        version: Served file.
        champion: Version that serves; None where nothing serves yet.
        kind: What the version changes.
        verdict: Verdict on the judged file, with the checks of the served file.
        traffic: Users who are there to test it.
        settings: Cap of a canary and share of the holdback.
    """
    mode = "offline"
    if champion is None:
        mode = "first"
    elif traffic.answers_last_day:
        mode = "live"

    if not verdict.may_release:
        reason = next(reason.text for reason in verdict.reasons if not reason.passed)
        status = "nothing serves yet"
        if champion:
            status = f"{champion} serves on"
        return ReleaseResult(version, scenario, mode, "returned", verdict.id, f"{status}: {reason}", kind)
    if version == champion:
        return ReleaseResult(version, scenario, mode, "returned", verdict.id, "it serves already", kind)
    if mode == "first":
        return ReleaseResult(version, scenario, mode, "promoted", verdict.id, _first_note(verdict), kind)
    if mode == "offline":
        return ReleaseResult(version, scenario, mode, "promoted", verdict.id, "not tested live", kind)

    if kind == "change" and traffic.days_to_decision <= settings.cap_days:
        note = f"shadow and canary decide: {_expected_decision(traffic)}"
        return ReleaseResult(version, scenario, mode, "testing", verdict.id, note, kind)
    is_watched = settings.holdback_share > 0
    note = _promotion_note(kind, traffic)
    if is_watched:
        note += (
            f"; watched for up to {settings.cap_days:g} days, {champion} answers {settings.holdback_share:.0%} of users"
        )
    return ReleaseResult(version, scenario, mode, "promoted", verdict.id, note, kind, is_watched)


def _first_note(verdict: Verdict) -> str:
    """Why there was no champion to compare with: none at all, or one whose bundle was refused."""
    for reason in verdict.reasons:
        if reason.code == "champion-refused":
            return reason.text
    return "no champion before it"


def _expected_decision(traffic: LiveTraffic) -> str:
    days = max(1, round(traffic.days_to_decision))
    unit = "day" if days == 1 else "days"
    return f"decision expected in about {days} {unit} with {_users_a_day(traffic)}"


def _promotion_note(kind: KindOfChange, traffic: LiveTraffic) -> str:
    """Why a version is promoted by the gate's verdict although users are there."""
    if kind == "refresh":
        return "the same recipe with newer data, promoted by the gate's verdict"
    if kind == "full after quick":
        return "not tested live: the first full recipe after the quick one"
    note = f"cannot be tested live with {_users_a_day(traffic)}"
    if isinf(traffic.days_to_decision):
        return note
    return f"{note}: a decision would take about {traffic.days_to_decision:,.0f} days"


def _users_a_day(traffic: LiveTraffic) -> str:
    users = max(1, round(traffic.users_per_day))
    unit = "user" if users == 1 else "users"
    return f"{users:,} {unit} a day"
