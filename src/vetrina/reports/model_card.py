"""A version's model card (Mitchell et al. 2019): intended use, training data, evaluation protocol and known limits."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from vetrina.scenarios.base import find_scenario

_DEFAULT_SEED = 42


def model_card(version_record: Mapping[str, Any]) -> str:
    """HTML for a version as ``registry.get_version`` returns it."""
    notes = version_record["notes"]
    verdict = version_record["verdict"]
    scenario = find_scenario(version_record["scenario"])
    plan = notes["settled"]["notes"].get("plan", {})
    snapshot = version_record["snapshot"][:12]
    rows = {
        "intended use": scenario.purpose,
        "not for": "decisions about people beyond what a shop shows them; shops other than the one whose data it is trained on",
        "data": f"snapshot {snapshot} of this shop; users are keyed pseudonyms; the {notes['form']} file",
        "models": ", ".join(_models(notes["models"], notes["kept"])),
        "seed": str(plan.get("seed", _DEFAULT_SEED)),
        "protocol": scenario.protocol,
        "pretrained weights": "; ".join(_pretrained_credits(notes["models"])) or "none recorded",
    }
    body = "".join(f"<tr><td>{name}</td><td>{escape(text)}</td></tr>" for name, text in rows.items())
    reasons = verdict["reasons"] if verdict else []
    limits = "".join(f"<li>{escape(text)}</li>" for text in _known_limits(reasons))
    return f"<h2>Model card</h2><table>{body}</table><p>Known limits:</p><ul>{limits}</ul>"


def _models(names: Iterable[str], accepted: Mapping[str, str] | Sequence[str]) -> list[str]:
    """Each model with its compression variant. Records of 0.1.0 name the compressed models only: each had one variant."""
    variants = accepted if isinstance(accepted, Mapping) else dict.fromkeys(accepted, "compressed")
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


def _known_limits(reasons: Sequence[Mapping[str, Any]]) -> list[str]:
    """What could not be evaluated, and what noisy data cost."""
    limits = []
    for reason in reasons:
        is_evaluable = reason.get("evaluable", True)
        if not is_evaluable or reason["code"].startswith("robust:"):
            limits.append(reason["text"])
    return limits or ["none beyond the verdict above"]
