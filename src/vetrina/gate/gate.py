"""The stage: paired bootstrap on the holdout against champion and baselines, and checks of the packaged file."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core import plugins
from vetrina.core.progress import Progress
from vetrina.core.types import EvaluationData, MetricValues, Reason, Verdict, VerdictOutcome
from vetrina.gate import probe
from vetrina.gate.fairness import check_fairness
from vetrina.gate.off_policy_value import check_off_policy_value
from vetrina.gate.robustness import perturb_data
from vetrina.metrics.bootstrap import paired_difference, resampled_means
from vetrina.scenarios.agreement import ReferenceAnswers

_MIN_PARITY = 0.9
_MIN_JUDGED_AGREEMENT = 0.2
_MAX_REQUESTS = 500


@dataclass(frozen=True)
class Candidate:
    """A packaged file: its version, the folder that opens it, and the float models it was made from, where known."""

    version: str
    folder: Path
    float_folder: Path | None = None


@dataclass(frozen=True)
class Policy:
    """``margin`` relative, ``slice_units`` the least a slice needs to count, ``latency_ms`` for the 99th percentile,
    ``unfairness`` a share of exposure."""

    margin: float = 0.02
    slice_units: int = 200
    latency_ms: float = 100.0
    unfairness: float = 0.05


def gate(
    scenario: str,
    candidate: Candidate,
    champion: Candidate | None,
    baselines: Sequence[str],
    evaluation_data: EvaluationData,
    policy: Policy,
    snapshot: str,
    progress: Progress,
) -> Verdict:
    """The verdict with every reason. The same candidate, champion and snapshot give the same id."""
    evaluation = plugins.load_module("scenarios", scenario, "evaluate")
    with progress.step(f"gate: {scenario}", 3 + len(baselines)) as step:
        reasons = [_check_fresh_process(scenario, candidate, policy), *_check_parity(scenario, candidate)]
        step.advance()
        scores: MetricValues = evaluation.evaluate(candidate.folder, evaluation_data)
        step.advance()
        if champion is not None and len(scores.values):
            against = evaluation.evaluate(champion.folder, evaluation_data)
            reasons.append(check_non_inferiority("champion", champion.version, scores, against, policy.margin))
            reasons += check_slices(scores, against, policy.slice_units)
        if len(scores.values):
            reasons += _check_robustness(scenario, candidate, champion, scores, evaluation_data)
        if plugins.load_module("scenarios", scenario, "recipe").ANSWER_KIND == "products":
            other = champion.folder if champion else None
            reasons += check_fairness(scenario, candidate.folder, other, evaluation_data, policy.unfairness)
            reasons.append(check_off_policy_value(scenario, candidate.folder, evaluation_data.logged_answers))
        step.advance()
        for name in baselines if len(scores.values) else ():
            only = evaluation.evaluate(candidate.folder, evaluation_data, only_model=name)
            reasons.append(check_non_inferiority("floor", name, scores, only, policy.margin))
            step.advance()
    visible = minimum_detectable_loss(scores) if len(scores.values) else None
    if visible is None:
        text = "there are no labels to judge by: the recipe's fixed order ships, its quality not evaluable"
        reasons.append(Reason("not-evaluable", True, text, evaluable=False))
    passed = all(r.passed for r in reasons)
    outcome: VerdictOutcome = "fail" if not passed else "pass" if len(scores.values) else "baseline"
    version = champion.version if champion else None
    key = sha256(f"{candidate.version} {version} {snapshot} {policy}".encode()).hexdigest()[:32]
    return Verdict(key, candidate.version, version, outcome, tuple(reasons), visible)


def check_served_file(
    scenario: str, served: Candidate, judged_folder: Path, verdict: Verdict, policy: Policy
) -> Verdict:
    """``verdict`` with what the served file itself shows; ``twin`` is the judged file's folder. It is never scored."""
    found = [_check_fresh_process(scenario, served, policy), *_check_parity(scenario, served)]
    like = ReferenceAnswers(scenario, judged_folder, _MAX_REQUESTS).compare_folder(served.folder)
    numbers = {"units": float(like.units), "share": like.share}
    required = f"{_MIN_JUDGED_AGREEMENT:.0%} asked for; {like.units:,} requests"
    text = f"shares {like.share:.0%} of its answers with the judged file ({required})"
    found.append(Reason("twin", like.share >= _MIN_JUDGED_AGREEMENT, text, numbers))
    named = [replace(r, code=f"served:{r.code}", text=f"served file {r.text}") for r in found]
    outcome: VerdictOutcome = verdict.outcome if all(r.passed for r in named) else "fail"
    return replace(verdict, outcome=outcome, reasons=(*verdict.reasons, *named))


def check_non_inferiority(
    code: str, name: str, candidate: MetricValues, reference: MetricValues, margin: float
) -> Reason:
    """Non-inferior: the lower 95 % bound of the relative difference lies above ``-margin``."""
    scale = abs(float(reference.values.mean())) or 1.0
    found = paired_difference(candidate.values, reference.values)
    low = found.low / scale
    point = found.point / scale
    high = found.high / scale
    passed = bool(low > -margin)
    word = "no worse than" if passed else "not shown to be as good as"
    text = (
        f"{candidate.metric} {candidate.values.mean():.4f} is {word} {name} {reference.values.mean():.4f} "
        f"({point:+.1%}, between {low:+.1%} and {high:+.1%}; {-margin:.0%} allowed)"
    )
    numbers = {"candidate": float(candidate.values.mean()), "reference": float(reference.values.mean())}
    return Reason(f"{code}:{name}", passed, text, numbers | {"low": low, "point": point, "high": high})


def check_slices(candidate: MetricValues, reference: MetricValues, min_units: int) -> list[Reason]:
    """A slice vetoes only if shown worse: the Holm-adjusted bootstrap p of "no worse" is below 0.05."""
    found: list[tuple[float, str, float]] = []
    for name, inside in candidate.slices.items():
        if inside.sum() >= min_units:
            difference = candidate.values[inside] - reference.values[inside]
            p = float((resampled_means(difference) >= 0).mean())
            found.append((p, name, float(difference.mean())))
    reasons = []
    still = True
    for rank, (p, name, difference) in enumerate(sorted(found)):
        still = still and p * (len(found) - rank) < 0.05
        text = f"{name}: {'shown worse' if still else 'not shown worse'} than the champion ({difference:+.4f}, p = {p:.3f})"
        reasons.append(Reason(f"slice:{name}", not still, text, {"difference": difference, "p": p}))
    return reasons


def _check_robustness(
    scenario: str,
    candidate: Candidate,
    champion: Candidate | None,
    clean: MetricValues,
    evaluation_data: EvaluationData,
) -> list[Reason]:
    """How much rougher evidence costs; it vetoes only what is shown worse at it than the champion."""
    evaluation = plugins.load_module("scenarios", scenario, "evaluate")
    reasons = []
    for rough in perturb_data(evaluation_data):
        scores: MetricValues = evaluation.evaluate(candidate.folder, rough.evaluation_data)
        usual = float(clean.values.mean())
        now = float(scores.values.mean())
        text = f"{rough.description} {scores.metric} is {now:.4f} instead of {usual:.4f}"
        shown_worse = False
        numbers = {"clean": usual, "rough": now}
        if champion is not None:
            against: MetricValues = evaluation.evaluate(champion.folder, rough.evaluation_data)
            found = paired_difference(scores.values, against.values)
            shown_worse = found.high < 0
            word = "shown worse" if shown_worse else "not shown worse"
            text += f", {word} than the champion's {against.values.mean():.4f}"
            numbers |= {"champion": float(against.values.mean()), "high": found.high}
        reasons.append(Reason(f"robust:{rough.code}", not shown_worse, text, numbers))
    return reasons


def minimum_detectable_loss(scores: MetricValues) -> float:
    """The relative loss that a two-sided 95 % interval of this many units could just see."""
    mean = abs(float(scores.values.mean())) or 1.0
    return float(1.96 * scores.values.std() / np.sqrt(len(scores.values)) / mean)


def _check_parity(scenario: str, candidate: Candidate) -> list[Reason]:
    if candidate.float_folder is None:
        return []
    like = ReferenceAnswers(scenario, candidate.float_folder, _MAX_REQUESTS).compare_folder(candidate.folder)
    text = (
        f"gives {like.share:.1%} of the float models' answers "
        f"({_MIN_PARITY:.0%} asked for; {like.units:,} requests), scores off by "
        f"{like.mean_error:.2%} in the mean and {like.max_error:.2%} at most, order correlates at {like.correlation:.4f}"
    )
    numbers = {name: float(value) for name, value in asdict(like).items()}
    return [Reason("parity", like.share >= _MIN_PARITY, text, numbers)]


def _check_fresh_process(scenario: str, candidate: Candidate, policy: Policy) -> Reason:
    seen = probe.probe_in_fresh_process(scenario, candidate.folder)
    if isinstance(seen, str):
        return Reason("loads-and-answers", False, f"the file does not answer in a fresh process: {seen}")
    # Nobody waits in a shop for an audience: it may take as long as all users take.
    waited_for = plugins.load_module("scenarios", scenario, "recipe").ANSWER_KIND != "users"
    fast = seen.p99_ms <= policy.latency_ms or not waited_for
    allowed = f"{policy.latency_ms:.0f} allowed" if waited_for else "nobody waits for it"
    text = (
        f"opens in {seen.open_ms:.0f} ms in a fresh process without training libraries and answers in "
        f"{seen.p50_ms:.1f} ms (99th percentile {seen.p99_ms:.1f} ms, {allowed}), {seen.cpu_us:,.0f} us of CPU"
        + (f", {seen.row_cpu_us:,.1f} us for each of {probe.BATCH_ROWS} rows" if seen.row_cpu_us is not None else "")
        + f"; {seen.memory_mb:,.0f} MB in memory, {seen.disk_mb:,.1f} MB on disk; on {seen.processor}"
    )
    numbers = {name: value for name, value in msgspec.structs.asdict(seen).items() if isinstance(value, float)}
    return Reason("loads-and-answers", fast, text, numbers)
