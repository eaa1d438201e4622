"""What the candidate would have earned at the places that the log of shoppers' answers holds.

An action is a product at a place; that a click depends on these two alone is the item-position model (Li, Abbasi-Yadkori, Kveton,
Muthukrishnan, Vinay and Wen, KDD 2018).
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from vetrina.core import plugins
from vetrina.core.types import LoggedAnswer, Reason
from vetrina.metrics.off_policy import Samples, Value, value

_LEAST_ANSWERS, _LEAST_EFFECTIVE, _LEAST_SUPPORT = 200, 200.0, 0.8
_SHRINK = 50.0


def off_policy(scenario: str, folder: Path, logged: Sequence[LoggedAnswer]) -> Reason:
    """Vetoes only what all three estimators show to earn less than what was served. Silence is never a pass: it says so."""
    drawn = [a for a in logged if any(p < 1.0 for p in a.propensities)]
    if len(drawn) < _LEAST_ANSWERS:
        text = (
            f"off-policy value not evaluable: {len(drawn)} logged answers with a chance other than one "
            f"({_LEAST_ANSWERS} asked for; [serve] explore makes them)"
        )
        return Reason("off-policy", True, text, {"answers": float(len(drawn))}, evaluable=False)
    found = value(samples(scenario, folder, drawn))
    numbers = {
        "answers": float(len(drawn)),
        "effective": found.effective,
        "support": found.support,
        "earned": found.earned,
        **{n: e.point for n, e in zip(("snips", "dr", "beta_ips"), found.estimates, strict=True)},
    }
    if found.effective < _LEAST_EFFECTIVE or found.support < _LEAST_SUPPORT:
        text = (
            f"off-policy value not evaluable: {found.effective:.0f} effective places ({_LEAST_EFFECTIVE:.0f} asked for), "
            f"about {min(found.support, 1.0):.0%} of what it shows could have been drawn ({_LEAST_SUPPORT:.0%} asked for)"
        )
        return Reason("off-policy", True, text, numbers, evaluable=False)
    return _judged(found, len(drawn), numbers)


def _judged(found: Value, answers: int, numbers: dict[str, float]) -> Reason:
    worse = all(e.high < found.earned for e in found.estimates)
    word = "shown to earn less than" if worse else "not shown to earn less than"
    said = ", ".join(
        f"{n} {e.point:.4f} ({e.low:.4f} to {e.high:.4f})"
        for n, e in zip(("SNIPS", "DR", "beta*-IPS"), found.estimates, strict=True)
    )
    text = (
        f"over {answers:,} logged answers it is {word} what was served, {found.earned:.4f} clicks a place: {said}; "
        f"{found.effective:.0f} effective places"
    )
    return Reason("off-policy", not worse, text, numbers)


def samples(scenario: str, folder: Path, logged: Sequence[LoggedAnswer]) -> Samples:
    """One sample for each shown place of each answer; the candidate is asked again as of then."""
    opened = plugins.part("scenarios", scenario, "online").open(folder)
    answer, place, product, mine, propensity, clicked = [], [], [], [], [], []
    for number, row in enumerate(logged):
        own = [i.product_id for i in opened.answer(row.request, row.context).items]
        for at, (shown, chance, hit) in enumerate(zip(row.products, row.propensities, row.clicked, strict=True)):
            answer.append(number)
            place.append(at)
            product.append(shown)
            mine.append(own[at] if at < len(own) else "")
            propensity.append(chance)
            clicked.append(hit)
    unit = np.unique([logged[n].unit for n in answer], return_inverse=True)[1]
    names, codes = np.unique([*product, *mine], return_inverse=True)
    shown, own = codes[: len(product)], codes[len(product) :]
    at, reward = np.array(place), np.array(clicked, float)
    w = np.where(shown == own, 1.0 / np.array(propensity), 0.0)
    half = np.array([blake2b(logged[n].unit.encode(), digest_size=1).digest()[0] % 2 for n in answer])
    expected = _Model(shown, at, reward, half, len(names))
    return Samples(unit, w, reward, expected.of(shown, at, half), expected.of(own, at, half))


class _Model:
    """Clicks expected of a product at a place: its rate over what its places get on average, drawn to 1.

    Each half of the shoppers is told by the other half.
    """

    def __init__(
        self, product: np.ndarray, place: np.ndarray, reward: np.ndarray, half: np.ndarray, products: int
    ) -> None:
        self._places, self._rates = [], []
        for side in (0, 1):
            other = half != side
            at = np.bincount(place[other], reward[other], place.max() + 1) / np.maximum(
                np.bincount(place[other], minlength=place.max() + 1), 1
            )
            got = np.bincount(product[other], reward[other], products)
            usual = np.bincount(product[other], at[place[other]], products)
            prior = _SHRINK * float(at.mean())
            self._places.append(at)
            self._rates.append((got + prior) / np.maximum(usual + prior, 1e-9))

    def of(self, product: np.ndarray, place: np.ndarray, half: np.ndarray) -> np.ndarray:
        """(n,)."""
        both = [np.minimum(a[place] * r[product], 1.0) for a, r in zip(self._places, self._rates, strict=True)]
        return np.where(half == 0, both[0], both[1])
