"""Off-policy value of a candidate on logged, randomised answers (item-position model).

An action is a product at a position. That a click depends on these two alone is the item-position model (Li, Abbasi-Yadkori,
Kveton, Muthukrishnan, Vinay and Wen, KDD 2018).
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import LoggedAnswer, Reason
from vetrina.evaluation.off_policy import LoggedSamples, OffPolicyValue, estimate_value
from vetrina.scenarios.base import find_ranking_scenario

_MIN_ANSWERS = 200  # randomised answers
_MIN_EFFECTIVE_POSITIONS = 200.0  # effective sample size
_MIN_SUPPORT = 0.8  # share of the candidate's actions that the logging policy could have taken
_PRIOR_IMPRESSIONS = 50.0  # strength of the shrinkage of a product's click rate
_CODE = "off-policy"
_ESTIMATOR_KEYS = ("snips", "dr", "beta_ips")
_ESTIMATOR_NAMES = ("SNIPS", "DR", "beta*-IPS")


def check_off_policy_value(scenario: str, folder: Path, logged: Sequence[LoggedAnswer]) -> Reason:
    """The estimated click rate of a candidate on logged answers, against the rate of what was served.

    It vetoes only a candidate for which all three estimators show less. Too few randomised answers are "not evaluable", never a
    pass.

    Args:
        scenario: Scenario that ranks products.
        folder: Folder of the candidate.
        logged: Logged answers with their propensities.
    """
    randomised = [answer for answer in logged if any(propensity < 1.0 for propensity in answer.propensities)]
    if len(randomised) < _MIN_ANSWERS:
        text = (
            f"off-policy value not evaluable: {len(randomised)} randomised logged answers "
            f"({_MIN_ANSWERS} required; [serve] exploration_rate makes them)"
        )
        return Reason(_CODE, True, text, {"answers": float(len(randomised))}, evaluable=False)
    value = estimate_value(position_samples(scenario, folder, randomised))
    numbers = {
        "answers": float(len(randomised)),
        "effective": value.effective_samples,
        "support": value.support,
        "earned": value.logged_value,
    }
    for key, estimate in zip(_ESTIMATOR_KEYS, value.estimates, strict=True):
        numbers[key] = estimate.point
    if value.effective_samples < _MIN_EFFECTIVE_POSITIONS or value.support < _MIN_SUPPORT:
        text = (
            f"off-policy value not evaluable: effective sample size {value.effective_samples:.0f} positions "
            f"({_MIN_EFFECTIVE_POSITIONS:.0f} required), "
            f"support about {min(value.support, 1.0):.0%} of the candidate's positions ({_MIN_SUPPORT:.0%} required)"
        )
        return Reason(_CODE, True, text, numbers, evaluable=False)
    return _value_reason(value, len(randomised), numbers)


def _value_reason(value: OffPolicyValue, n_answers: int, numbers: dict[str, float]) -> Reason:
    is_worse = all(estimate.high < value.logged_value for estimate in value.estimates)
    finding = "not shown to earn less than"
    if is_worse:
        finding = "shown to earn less than"
    estimate_texts: list[str] = []
    for name, estimate in zip(_ESTIMATOR_NAMES, value.estimates, strict=True):
        estimate_texts.append(f"{name} {estimate.point:.4f} ({estimate.low:.4f} to {estimate.high:.4f})")
    text = (
        f"over {n_answers:,} logged answers it is {finding} what was served, {value.logged_value:.4f} clicks per position: "
        f"{', '.join(estimate_texts)}; effective sample size {value.effective_samples:.0f} positions"
    )
    return Reason(_CODE, not is_worse, text, numbers)


def position_samples(scenario: str, folder: Path, logged: Sequence[LoggedAnswer]) -> LoggedSamples:
    """One sample for each position of each logged answer.

    Args:
        scenario: Scenario that ranks products.
        folder: Folder of the candidate, which answers every request again in its recorded context.
        logged: Logged answers.
    """
    opened = find_ranking_scenario(scenario).load(folder)
    answer_numbers: list[int] = []
    positions: list[int] = []
    logged_products: list[str] = []
    candidate_products: list[str] = []
    propensities: list[float] = []
    clicks: list[bool] = []
    for number, answer in enumerate(logged):
        ranking = [item.product_id for item in opened.answer(answer.request, answer.context).items]
        shown = zip(answer.products, answer.propensities, answer.clicked, strict=True)
        for position, (product, propensity, clicked) in enumerate(shown):
            candidate_product = ""
            if position < len(ranking):
                candidate_product = ranking[position]
            answer_numbers.append(number)
            positions.append(position)
            logged_products.append(product)
            candidate_products.append(candidate_product)
            propensities.append(propensity)
            clicks.append(clicked)

    unit_ids = [logged[number].unit_id for number in answer_numbers]
    unit = np.unique(unit_ids, return_inverse=True)[1]
    fold_of_answer = [_fold(answer.unit_id) for answer in logged]
    fold = np.array([fold_of_answer[number] for number in answer_numbers])
    names, codes = np.unique([*logged_products, *candidate_products], return_inverse=True)
    logged_codes = codes[: len(logged_products)]
    candidate_codes = codes[len(logged_products) :]
    position_array = np.array(positions)
    reward = np.array(clicks, float)
    is_same = logged_codes == candidate_codes
    importance_weight = np.where(is_same, 1.0 / np.array(propensities), 0.0)
    click_model = _ItemPositionModel(logged_codes, position_array, reward, fold, len(names))
    return LoggedSamples(
        unit,
        importance_weight,
        reward,
        click_model.predict(logged_codes, position_array, fold),
        click_model.predict(candidate_codes, position_array, fold),
    )


def _fold(unit_id: str) -> int:
    """0 or 1, the same for all answers of a unit."""
    return blake2b(unit_id.encode(), digest_size=1).digest()[0] % 2


class _ItemPositionModel:
    """Expected clicks of a product at a position: the position's click rate times the product's lift, shrunk towards 1.

    The lift is the product's clicks over those that its positions get on average. Each half of the units is predicted from the
    other half.
    """

    def __init__(
        self,
        product: NDArray[np.integer],
        position: NDArray[np.integer],
        reward: NDArray[np.float64],
        fold: NDArray[np.integer],
        n_products: int,
    ) -> None:
        n_positions = position.max() + 1
        self._position_rates: list[NDArray[np.float64]] = []
        self._item_lifts: list[NDArray[np.float64]] = []
        for side in (0, 1):
            other = fold != side
            clicks_at = np.bincount(position[other], reward[other], n_positions)
            impressions_at = np.bincount(position[other], minlength=n_positions)
            position_rate = clicks_at / np.maximum(impressions_at, 1)
            clicks = np.bincount(product[other], reward[other], n_products)
            expected_clicks = np.bincount(product[other], position_rate[position[other]], n_products)
            prior = _PRIOR_IMPRESSIONS * float(position_rate.mean())
            self._position_rates.append(position_rate)
            self._item_lifts.append((clicks + prior) / np.maximum(expected_clicks + prior, 1e-9))

    def predict(
        self, product: NDArray[np.integer], position: NDArray[np.integer], fold: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """(n,) click probabilities."""
        by_fold = [
            np.minimum(position_rate[position] * item_lift[product], 1.0)
            for position_rate, item_lift in zip(self._position_rates, self._item_lifts, strict=True)
        ]
        return np.where(fold == 0, by_fold[0], by_fold[1])
