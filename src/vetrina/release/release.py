"""The stage, pure: modes *first*, *offline* and the entrance to *live*. Who acts on the decision is the pipeline."""

from vetrina.core.types import ReleaseResult, Verdict


def decide_release(
    scenario: str, version: str, champion: str | None, verdict: Verdict, exposures_last_day: int
) -> ReleaseResult:
    """Promote what the gate lets pass, or send it among shoppers where there are any.

    ``version`` is the served file's, ``verdict`` that of its judged twin.
    """
    mode = "first" if champion is None else "live" if exposures_last_day else "offline"
    if not verdict.may_release:
        failed = next(r.text for r in verdict.reasons if not r.passed)
        kept = f"{champion} goes on" if champion else "nothing serves yet"
        return ReleaseResult(version, scenario, mode, "returned", verdict.id, f"{kept}: {failed}")
    if mode == "live":
        note = f"{exposures_last_day} answers were shown in the last 24 hours: shadow and canary decide"
        return ReleaseResult(version, scenario, mode, "testing", verdict.id, note)
    refused = (r.text for r in verdict.reasons if r.code == "champion-refused")
    note = next(refused, "no champion before it") if mode == "first" else "not tested live"
    return ReleaseResult(version, scenario, mode, "promoted", verdict.id, note)
