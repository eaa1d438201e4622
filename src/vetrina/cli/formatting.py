"""Lines that the command line prints for people, made from plain values alone."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vetrina.core.data_report import DataReport
    from vetrina.core.verdicts import Reason, ReleaseResult
    from vetrina.store.registry import VersionSummary
    from vetrina.store.rollouts import DecisionRecord, RolloutSummary
    from vetrina.store.runs import FinishedStage, RunRecord

Record = Mapping[str, Any]  # a row as it is printed with --json

_SECONDS_PER_DAY = 86_400


def format_counts(rows: Mapping[str, int]) -> str:
    """Numbers of rows by table."""
    return ", ".join(f"{n:,} {name}" for name, n in rows.items())


def format_snapshot(row: Record) -> str:
    """A snapshot after files were added."""
    counts = format_counts(row["rows"])
    return (
        f"snapshot {row['snapshot']}: {counts}; {row['files_added']} new files, {row['quarantined']} rows in quarantine"
    )


def format_checks(report: "DataReport") -> str:
    """The readiness of a scenario, then one line for each check."""
    readiness = report.readiness
    state = "ready" if report.is_ok else "not ready"
    lines = [f"{report.scenario}: {state} ({readiness.why})"]
    if readiness.meanwhile:
        lines.append(f"  meanwhile: {readiness.meanwhile}")
    for check in report.checks:
        line = f"  {check.status:<4} {check.name}"
        if check.count:
            line += f"  {check.count:,} rows, first {check.first!r}: {check.meaning}; {check.done}"
        lines.append(line)
    return "\n".join(lines)


def format_no_release(row: Record, report: "DataReport", champion: str | None) -> str:
    """Why a run released nothing.

    Args:
        row: the run's ``scenario`` and ``verdict``.
        report: the checks of its data.
        champion: the version that serves, if any.

    Returns:
        The checks where the data do not suffice, else that there is no new data.
    """
    if not report.is_ok:
        return format_checks(report)
    text = f"{row['scenario']}: nothing new since {champion or 'the last verdict'}"
    if row["verdict"] == "fail":
        text += "; the gate failed the last version of this recipe"
    return text


def format_release(row: Record, reasons: "Sequence[Reason]") -> str:
    """The outcome of a run with the gate's reasons.

    Args:
        row: the result of the run as ``release``.
        reasons: findings of the gate, as the registry returns them.

    Returns:
        Several lines.
    """
    release: ReleaseResult = row["release"]
    lines = [f"{release.scenario}: {release.version} {release.outcome} ({release.mode}: {release.note})"]
    lines += [f"  {outcome_mark(reason)}  {reason.text}" for reason in reasons]
    if release.outcome == "testing":
        lines.append("  next: vetrina operate tests it on users; vetrina releases shows the decisions")
    if release.is_watched:
        lines.append(f"  next: vetrina operate watches it; vetrina rollback {release.scenario} takes it back")
    return "\n".join(lines)


def outcome_mark(reason: "Reason") -> str:
    """Four characters for the outcome of a finding: pass, FAIL or n/a."""
    if not reason.passed:
        return "FAIL"
    if not reason.evaluable:
        return "n/a "
    return "pass"


def format_version(version: "VersionSummary") -> str:
    """One version in a list."""
    mark = "*" if version.serving else " "
    created = _format_minute(version.created)
    return f"{mark} {version.version:<28} {version.verdict or '':<9} {created}"


def format_gate_numbers(row: Record) -> str:
    """What the gate measured of one version: names and numbers."""
    parts = []
    for name, value in row.items():
        parts.append(f"{name} {value:.4f}" if isinstance(value, float) else str(value))
    return "  ".join(parts)


def format_promotion(row: Record) -> str:
    """The champion after a promotion."""
    return f"{row['version']} serves {row['scenario']}"


def format_rollback(row: Record) -> str:
    """What a rollback left, and the champion after it."""
    return row["note"]


def format_report(row: Record) -> str:
    """The path of a page that was written."""
    return row["report"]


def format_tradeoff_point(row: Record, goal: str) -> str:
    """Relevance and business value at one weight of a goal."""
    relevance = row["relevance"]
    return (
        f"{row['weight']:>5.2f}  NDCG@10 {relevance['point']:.4f} [{relevance['low']:.4f}, {relevance['high']:.4f}]  "
        f"mean {goal} shown {row['worth']:.3f}"
    )


def format_status(row: Record) -> str:
    """The health of a scenario on its last full day, with alerts."""
    health = row["health"]
    retrain = row["retrain"]
    day = time.strftime("%Y-%m-%d", time.gmtime(health["day"] * _SECONDS_PER_DAY))
    lines = [
        f"{health['scenario']}: {health['version'] or 'nothing serves'}; {day} (UTC): {health['events']:,} events, "
        f"{health['answers']:,} answers, {health['clicked']:,} of them with a click; "
        f"retrain: {'yes' if retrain['retrain'] else 'no'}, {retrain['why']}"
    ]
    if health["coverage"] is not None:
        lines.append(f"  catalogue coverage {health['coverage']:.1%}")
    if health["click_delay_seconds"] is not None:
        lines.append(f"  median time to click {health['click_delay_seconds']:.0f} s")
    if health["replay_overlap"] is not None:
        lines.append(f"  replay of logged requests: {health['replay_overlap']:.1%} of the products that were served")
    lines += _format_interval("  loss of clicks", health["estimated_loss"])
    lines += _format_interval("  calibration, observed over predicted clicks", health["calibration"])
    lines += _format_drift(health)
    lines += _format_serving_cost(row["serving_cost"])
    lines += [f"  ALERT {alert['text']}" for alert in row["alarms"]]
    return "\n".join(lines)


def _format_serving_cost(cost: Record | None) -> list[str]:
    """One line, or none where no service has measured any answer."""
    if cost is None:
        return []
    line = (
        f"  a million answers: {cost['cpu_seconds_per_million']:,.0f} CPU-seconds, "
        f"{cost['watt_hours_per_million']:,.2f} Wh"
    )
    if cost["price_per_million"] is not None:
        line += f", {cost['price_per_million']:,.4g} at [operate] price_per_cpu_hour"
    return [line]


def _format_interval(title: str, interval: Record | None) -> list[str]:
    """One line, or none where the value is not known."""
    if interval is None:
        return []
    return [f"{title}: {interval['point']:.1%} (between {interval['low']:.1%} and {interval['high']:.1%})"]


def _format_drift(health: Record) -> list[str]:
    """One line, or none where no feature was or could be compared."""
    drift = health["drift"]
    not_evaluable = health["not_evaluable"]
    if not drift and not not_evaluable:
        return []
    n_drifted = sum(feature["drifted"] for feature in drift.values())
    line = f"  drift: {len(drift)} features compared with earlier days, {n_drifted} drifted"
    if not_evaluable:
        line += f", {len(not_evaluable)} not evaluable yet"
    return [line]


def format_run(run: "RunRecord") -> str:
    """One run in a list."""
    queued = _format_minute(run.asked)
    return f"{run.id}  {run.scenario:<10} {run.state:<9} {queued}  {run.note or run.why}"


def format_stage(stage: "FinishedStage") -> str:
    """One finished stage of a run."""
    cpu = "" if stage.cpu_seconds is None else f"{stage.cpu_seconds:8.1f} CPU-s"
    return f"  {stage.stage:<16} {stage.seconds:8.1f} s  {cpu}  {stage.peak_mb:6.0f} MB"


def format_rollout(rollout: "RolloutSummary") -> str:
    """One live release in a list."""
    started = _format_minute(rollout.started)
    if rollout.kind == "watch":
        return (
            f"{rollout.release}  watch of {rollout.candidate}, {rollout.champion} before it: {rollout.state}, answers "
            f"{rollout.share:.0%}, since {started}"
        )
    return (
        f"{rollout.release}  {rollout.candidate} against {rollout.champion}: {rollout.state} at {rollout.share:.0%}, "
        f"since {started}"
    )


def format_decision(record: "DecisionRecord") -> str:
    """One decision about a live release, with its reasons."""
    decided = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.now))
    lines = [f"{decided}  {record.decision.action}"]
    lines += [f"    {outcome_mark(reason)}  {reason.text}" for reason in record.decision.reasons]
    return "\n".join(lines)


def format_export(row: Record) -> str:
    """What was written for a device, and how well the student agrees with the version."""
    return (
        f"{row['folder']}: {row['products']:,} products, {row['bytes'] / 1e6:.2f} MB with model; agrees with "
        f"{row['agreement']:.0%} of the version's top 10 on histories held out of distillation "
        f"(best sellers: {row['popular']:.0%})"
    )


def format_ranked_product(row: Record) -> str:
    """One product of an answer."""
    return f"{row['rank']:>3}  {row['product_id']:<12} {row['score']:>8}  {row['title']}  ({row['why']})"


def format_recipient(row: Record) -> str:
    """One user of an audience."""
    return f"{row['rank']:>5}  {row['user_id']:<16} {row['score']:>9}  ({row['why']})"


def format_delivery(row: Record) -> str:
    """Where an audience was written or sent."""
    return f"{row['users']} users to {row['out']}"


def format_output_file(row: Record) -> str:
    """The number of rows of an output file."""
    return f"{row['rows']} rows in {row['out']}"


def format_prediction(row: Record) -> str:
    """A prediction, with its probability where the label is yes or no."""
    text = f"{row['prediction']}"
    if "probability" in row:
        text += f" (probability {row['probability']})"
    return text


def format_drill(row: Record) -> str:
    """The outcome of a drill."""
    return f"{row['planted']}: {row['outcome']}"


def _format_minute(seconds: float) -> str:
    """Local date and time of seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
