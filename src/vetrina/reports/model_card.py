"""A version's model card (Mitchell et al. 2019): intended use, training data, evaluation protocol and known limits."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from vetrina.core.verdicts import Reason
from vetrina.scenarios.base import find_scenario
from vetrina.store.registry import Version

_DEFAULT_SEED = 42


def model_card(version: Version) -> str:
    """HTML for a version."""
    training = version.training
    scenario = find_scenario(version.scenario)
    plan = training.tuning.report.get("plan", {})
    snapshot = version.snapshot[:12]
    rows = {
        "intended use": scenario.purpose,
        "not for": "decisions about people beyond what a shop shows them; shops other than the one whose data it is trained on",
        "data": f"snapshot {snapshot} of this shop; users are keyed pseudonyms; the {training.data_split} file",
        "models": ", ".join(_models(training.models, training.kept_variants)),
        "seed": str(plan.get("seed", _DEFAULT_SEED)),
        "protocol": scenario.protocol,
        "pretrained weights": "; ".join(_pretrained_credits(training.models)) or "none recorded",
    }
    body = "".join(f"<tr><td>{name}</td><td>{escape(text)}</td></tr>" for name, text in rows.items())
    reasons: Sequence[Reason] = ()
    if version.verdict is not None:
        reasons = version.verdict.reasons
    limits = "".join(f"<li>{escape(text)}</li>" for text in _known_limits(reasons))
    return f"<h2>Model card</h2><table>{body}</table><p>Known limits:</p><ul>{limits}</ul>"


def _models(names: Iterable[str], variants: Mapping[str, str]) -> list[str]:
    """Each model with its compression variant."""
    descriptions = []
    for name in names:
        if name in variants:
            descriptions.append(f"{name} ({variants[name]})")
        else:
            descriptions.append(name)
    return descriptions


def _pretrained_credits(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Credits of the pretrained weights that models report, each once."""
    texts: dict[str, None] = {}
    for report in reports.values():
        texts |= dict.fromkeys(report.get("credits", ()))
    return list(texts)


def _known_limits(reasons: Sequence[Reason]) -> list[str]:
    """What could not be evaluated, and what noisy data cost."""
    limits = []
    for reason in reasons:
        if not reason.evaluable or reason.code.startswith("robust:"):
            limits.append(reason.text)
    return limits or ["none beyond the verdict above"]
