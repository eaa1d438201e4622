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
from vetrina.metrics.off_policy import LoggedSamples, OffPolicyValue, estimate_value

_MIN_ANSWERS = 200
_MIN_EFFECTIVE_POSITIONS = 200.0
_MIN_SUPPORT = 0.8
_PRIOR_IMPRESSIONS = 50.0


def check_off_policy_value(scenario: str, folder: Path, logged: Sequence[LoggedAnswer]) -> Reason:
    """Vetoes only what all three estimators show to earn less than what was served. Silence is never a pass: it says so."""
    drawn = [a for a in logged if any(p < 1.0 for p in a.propensities)]
    if len(drawn) < _MIN_ANSWERS:
        text = (
            f"off-policy value not evaluable: {len(drawn)} logged answers with a chance other than one "
            f"({_MIN_ANSWERS} asked for; [serve] exploration_rate makes them)"
        )
        return Reason("off-policy", True, text, {"answers": float(len(drawn))}, evaluable=False)
    found = estimate_value(position_samples(scenario, folder, drawn))
    numbers = {
        "answers": float(len(drawn)),
        "effective": found.effective_samples,
        "support": found.support,
        "earned": found.logged_value,
        **{n: e.point for n, e in zip(("snips", "dr", "beta_ips"), found.estimates, strict=True)},
    }
    if found.effective_samples < _MIN_EFFECTIVE_POSITIONS or found.support < _MIN_SUPPORT:
        text = (
            f"off-policy value not evaluable: {found.effective_samples:.0f} effective places "
            f"({_MIN_EFFECTIVE_POSITIONS:.0f} asked for), "
            f"about {min(found.support, 1.0):.0%} of what it shows could have been drawn ({_MIN_SUPPORT:.0%} asked for)"
        )
        return Reason("off-policy", True, text, numbers, evaluable=False)
    return _value_reason(found, len(drawn), numbers)


def _value_reason(policy_value: OffPolicyValue, answers: int, numbers: dict[str, float]) -> Reason:
    worse = all(e.high < policy_value.logged_value for e in policy_value.estimates)
    word = "shown to earn less than" if worse else "not shown to earn less than"
    said = ", ".join(
        f"{n} {e.point:.4f} ({e.low:.4f} to {e.high:.4f})"
        for n, e in zip(("SNIPS", "DR", "beta*-IPS"), policy_value.estimates, strict=True)
    )
    text = (
        f"over {answers:,} logged answers it is {word} what was served, {policy_value.logged_value:.4f} clicks a place: {said}; "
        f"{policy_value.effective_samples:.0f} effective places"
    )
    return Reason("off-policy", not worse, text, numbers)


def position_samples(scenario: str, folder: Path, logged: Sequence[LoggedAnswer]) -> LoggedSamples:
    """One sample for each shown place of each answer; the candidate is asked again as of then."""
    opened = plugins.load_module("scenarios", scenario, "online").load(folder)
    answer = []
    place = []
    product = []
    mine = []
    propensity = []
    clicked = []
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
    shown = codes[: len(product)]
    own = codes[len(product) :]
    at = np.array(place)
    reward = np.array(clicked, float)
    w = np.where(shown == own, 1.0 / np.array(propensity), 0.0)
    half = np.array([blake2b(logged[n].unit.encode(), digest_size=1).digest()[0] % 2 for n in answer])
    expected = _ItemPositionModel(shown, at, reward, half, len(names))
    return LoggedSamples(unit, w, reward, expected.predict(shown, at, half), expected.predict(own, at, half))


class _ItemPositionModel:
    """Clicks expected of a product at a place: its rate over what its places get on average, drawn to 1.

    Each half of the shoppers is told by the other half.
    """

    def __init__(
        self, product: np.ndarray, position: np.ndarray, reward: np.ndarray, fold: np.ndarray, products: int
    ) -> None:
        self._position_rates = []
        self._item_lifts = []
        for side in (0, 1):
            other = fold != side
            at = np.bincount(position[other], reward[other], position.max() + 1) / np.maximum(
                np.bincount(position[other], minlength=position.max() + 1), 1
            )
            got = np.bincount(product[other], reward[other], products)
            usual = np.bincount(product[other], at[position[other]], products)
            prior = _PRIOR_IMPRESSIONS * float(at.mean())
            self._position_rates.append(at)
            self._item_lifts.append((got + prior) / np.maximum(usual + prior, 1e-9))

    def predict(self, product: np.ndarray, position: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """(n,)."""
        both = [
            np.minimum(a[position] * r[product], 1.0)
            for a, r in zip(self._position_rates, self._item_lifts, strict=True)
        ]
        return np.where(fold == 0, both[0], both[1])
