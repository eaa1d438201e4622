"""The stage: compare a window of events and exposures with what the champion was trained on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vetrina.core.types import HealthReport

_CLICKS = frozenset({"click", "cart", "purchase"})
_LEAST_FOR_DRIFT = 200


def monitor(
    scenario: str,
    version: str | None,
    events: Sequence[Mapping[str, Any]],
    exposures: Sequence[Mapping[str, Any]],
    baseline: Mapping[str, Mapping[str, float]],
    since: float,
    until: float,
    built: float | None,
) -> HealthReport:
    """``baseline`` holds shares from training: {"type": {...}, "product": {...}}."""
    shown = [e for e in exposures if e["scenario"] == scenario]
    requests = {e["request_id"]: {i["product_id"] for i in e["items"]} for e in shown}
    clicks = sum(
        e.get("type") in _CLICKS and e.get("product_id") in requests.get(e.get("request_id"), ()) for e in events
    )
    known = baseline.get("product", {})
    products = Counter(e["product_id"] for e in events if e.get("product_id"))
    new = sum(1 for p in products if p not in known)
    drift = {}
    if len(events) >= _LEAST_FOR_DRIFT:
        drift["type"] = distance(Counter(e["type"] for e in events), baseline.get("type", {}))
        drift["new_product_share"] = sum(n for p, n in products.items() if p not in known) / max(1, products.total())
    return HealthReport(
        scenario,
        version,
        since,
        until,
        len(events),
        len(shown),
        clicks,
        len({e["user"] for e in events}),
        new,
        drift,
        (until - built) / 86_400 if built else 0.0,
        None,
    )


def distance(seen: Mapping[str, float], expected: Mapping[str, float]) -> float:
    """Jensen-Shannon distance (base 2, so 0..1) between two sets of shares (Lin 1991)."""
    names = sorted({*seen, *expected})
    if not names or not expected or not sum(seen.values()):
        return 0.0
    p = np.array([seen.get(n, 0.0) for n in names], float) / sum(seen.values())
    q = np.array([expected.get(n, 0.0) for n in names], float) / sum(expected.values())
    middle = (p + q) / 2

    def divergence(a: np.ndarray) -> float:
        inside = a > 0
        return float((a[inside] * np.log2(a[inside] / middle[inside])).sum())

    return float(np.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2)))
