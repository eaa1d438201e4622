"""The stage, pure: modes *first* and *offline*. Who acts on the decision is the pipeline."""

from vetrina.core.types import Release, Verdict


def release(scenario: str, version: str, champion: str | None, verdict: Verdict, exposures_last_day: int) -> Release:
    """Promote what the gate lets pass. ``version`` is the served file's, ``verdict`` that of its judged twin."""
    mode = "first" if champion is None else "offline"
    if not verdict.may_release:
        failed = next(r.text for r in verdict.reasons if not r.passed)
        kept = f"{champion} goes on" if champion else "nothing serves yet"
        return Release(version, scenario, mode, "returned", verdict.id, f"{kept}: {failed}")
    note = "no champion before it" if mode == "first" else "not tested live"
    if exposures_last_day and mode == "offline":
        note += f"; {exposures_last_day} answers were shown in the last 24 hours"
    return Release(version, scenario, mode, "promoted", verdict.id, note)
