"""Lines that the command line prints for people, made of plain values alone."""

import time
from collections.abc import Sequence
from typing import Any


def format_counts(rows: dict[str, int]) -> str:
    """Rows by table."""
    return ", ".join(f"{n:,} {name}" for name, n in rows.items())


def checks(found: Any) -> str:
    """What the checks say, a line each."""
    said = [f"{found.scenario}: {'ready' if found.is_ok else 'not ready'} ({found.readiness.why})"]
    if found.readiness.meanwhile:
        said.append(f"  meanwhile: {found.readiness.meanwhile}")
    for c in found.checks:
        rest = f"  {c.count:,} rows, first {c.first!r}: {c.meaning}; {c.done}" if c.count else ""
        said.append(f"  {c.status:<4} {c.name}{rest}")
    return "\n".join(said)


def no_release(row: dict[str, Any], report: Any, champion: str | None) -> str:
    """Why a run made nothing: what the checks say where the data do not suffice, else that there is nothing new."""
    if not report.is_ok:
        return checks(report)
    return f"{row['scenario']}: nothing new since {champion or 'the last verdict'}"


def format_release(row: dict[str, Any], reasons: Sequence[dict[str, Any]]) -> str:
    """What became of a run, with the gate's ``reasons``."""
    made = row["release"]
    listed = "\n".join(f"  {outcome_mark(r)}  {r['text']}" for r in reasons)
    said = f"{made.scenario}: {made.version} {made.outcome} ({made.mode}: {made.note})\n{listed}"
    if made.outcome == "testing":
        said += "\n  vetrina operate moves it on among shoppers; vetrina releases shows how"
    return said


def outcome_mark(reason: dict[str, Any]) -> str:
    """Four letters for a finding."""
    if not reason["passed"]:
        return "FAIL"
    return "pass" if reason.get("evaluable", True) else "n/a "


def format_version(row: dict[str, Any]) -> str:
    """One version."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"]))
    return f"{'*' if row['serving'] else ' '} {row['version']:<28} {row['verdict'] or '':<9} {when}"


def format_status(row: dict[str, Any]) -> str:
    """How a scenario did on the last full day."""
    h = row["health"]
    r = row["retrain"]
    day = time.strftime("%Y-%m-%d", time.gmtime(h["day"] * 86_400))
    said = [
        f"{h['scenario']}: {h['version'] or 'nothing serves'}; {day} (UTC): {h['events']:,} events, {h['answers']:,} answers, "
        f"{h['clicked']:,} of them clicked; retrain: {'yes' if r['retrain'] else 'no'}, {r['why']}"
    ]
    if h["coverage"] is not None:
        said.append(f"  {h['coverage']:.1%} of the catalogue was shown")
    if h["click_delay_seconds"] is not None:
        said.append(f"  half of the clicks came within {h['click_delay_seconds']:.0f} s")
    if h["replay_overlap"] is not None:
        said.append(f"  asked again, the version gives {h['replay_overlap']:.1%} of the products that were served")
    for name, found in (("clicks fell by", h["estimated_loss"]), ("happened of what was expected", h["calibration"])):
        if found is not None:
            said.append(f"  {name}: {found['point']:.1%} (between {found['low']:.1%} and {found['high']:.1%})")
    compared = len(h["drift"])
    if compared or h["not_evaluable"]:
        text = f"  {compared} features compared with earlier days, {sum(d['drifted'] for d in h['drift'].values())} drifted"
        said.append(text + (f", {len(h['not_evaluable'])} not evaluable yet" if h["not_evaluable"] else ""))
    said += [f"  ALARM {a['text']}" for a in row["alarms"]]
    return "\n".join(said)


def format_run(row: dict[str, Any]) -> str:
    """One run."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["asked"]))
    return f"{row['id']}  {row['scenario']:<10} {row['state']:<9} {when}  {row['note'] or row['why']}"


def format_stage(row: dict[str, Any]) -> str:
    """One finished stage."""
    worked = f"{row['cpu_seconds']:8.1f} CPU-s" if row["cpu_seconds"] is not None else ""
    return f"  {row['stage']:<16} {row['seconds']:8.1f} s  {worked}  {row['peak_mb']:6.0f} MB"


def format_rollout(row: dict[str, Any]) -> str:
    """One release among shoppers."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["started"]))
    return f"{row['release']}  {row['candidate']} against {row['champion']}: {row['state']} at {row['share']:.0%}, since {when}"


def format_decision(row: dict[str, Any]) -> str:
    """One decision with its reasons."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["now"]))
    decision = row["decision"]
    reasons = "\n".join(f"    {outcome_mark(r)}  {r['text']}" for r in decision["reasons"])
    return f"{when}  {decision['action']}\n{reasons}"


def format_rollback(row: dict[str, Any]) -> str:
    """What serves after a rollback."""
    if "out" in row:
        return f"{row['out']} is taken out; {row['version']} serves {row['scenario']} alone"
    return f"{row['version']} serves {row['scenario']} again"


def format_export(row: dict[str, Any]) -> str:
    """What was written for a device, and how it does."""
    return (
        f"{row['folder']}: {row['products']:,} products, {row['bytes'] / 1e6:.2f} MB with model; gives {row['agreement']:.0%} of "
        f"the version's first ten on histories that it did not learn from (what sells most: {row['popular']:.0%})"
    )
