"""Release stage, pure: the modes first and offline, and the start of live. The pipeline acts on the decision."""

from vetrina.core.types import ReleaseResult, Verdict


def decide_release(
    scenario: str, version: str, champion: str | None, verdict: Verdict, exposures_last_day: int
) -> ReleaseResult:
    """Promote a version that passed the gate, or start a live release where there is traffic to test it on.

    Args:
        scenario: Scenario of the version.
        version: Served file.
        champion: Version that serves; None where nothing serves yet.
        verdict: Verdict on the judged file, with the checks of the served file.
        exposures_last_day: Number of answers shown in the last 24 hours.
    """
    mode = "offline"
    if champion is None:
        mode = "first"
    elif exposures_last_day:
        mode = "live"
    if not verdict.may_release:
        reason = next(reason.text for reason in verdict.reasons if not reason.passed)
        status = "nothing serves yet"
        if champion:
            status = f"{champion} serves on"
        return ReleaseResult(version, scenario, mode, "returned", verdict.id, f"{status}: {reason}")
    if mode == "live":
        note = f"{exposures_last_day} answers were shown in the last 24 hours: shadow and canary decide"
        return ReleaseResult(version, scenario, mode, "testing", verdict.id, note)
    note = "not tested live"
    if mode == "first":
        note = _first_note(verdict)
    return ReleaseResult(version, scenario, mode, "promoted", verdict.id, note)


def _first_note(verdict: Verdict) -> str:
    """Why there was no champion to compare with: none at all, or one whose bundle was refused."""
    for reason in verdict.reasons:
        if reason.code == "champion-refused":
            return reason.text
    return "no champion before it"
