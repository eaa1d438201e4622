"""Exposures: answers as they are logged.

An exposure says which version answered whom, with what, and with which probability each item had its position. Clicks join the
very answer that caused them, and off-policy evaluation has its propensities. Nothing here knows how exposures are stored.
"""

from dataclasses import dataclass

import msgspec

from vetrina.core.types import AdPlacement, RankedItem


class LoggedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item of a logged answer: a product of a ranking, or a row of predict.

    The log holds it as a JSON object without the fields that have their defaults.

    Attributes:
        position: Position in the whole ranking, or row of the table, from 1.
        product_id: Product of a ranking; empty for a row of predict.
        propensity: Probability with which a ranking placed the product at its position; 0 for a row of predict.
        score: Score of the product; None if it was not a number.
        ad_id: Ad that was sold the position; empty for an organic product.
        campaign_id: Campaign of the ad.
        price: Price of a click on the ad.
        click_chance: Predicted probability of a click on the ad.
        team: Arm that contributed the product to an interleaved answer; empty for other answers.
        probability: Predicted probability of a row.
        prediction: Predicted number of a row, where the label is a number.
    """

    position: int
    product_id: str = ""
    propensity: float = 0.0
    score: float | None = None
    ad_id: str = ""
    campaign_id: str = ""
    price: float | None = None
    click_chance: float | None = None
    team: str = ""
    probability: float | None = None
    prediction: float | None = None

    @property
    def ad(self) -> AdPlacement | None:
        """The ad that was sold the position; None for an organic product."""
        if not self.ad_id:
            return None
        return AdPlacement(self.ad_id, self.campaign_id, self.price or 0.0, self.click_chance or 0.0)

    @property
    def predicted(self) -> float | None:
        """The predicted probability or number of a row; None for a product."""
        if self.probability is not None:
            return self.probability
        return self.prediction


def logged_item(item: RankedItem, position: int) -> LoggedItem:
    """A ranked item as it is logged, at its position in the whole ranking, from 1."""
    score = round(item.score, 4)
    if item.ad is None:
        return LoggedItem(position, item.product_id, item.propensity, score, team=item.team)
    return LoggedItem(
        position,
        item.product_id,
        item.propensity,
        score,
        ad_id=item.ad.ad_id,
        campaign_id=item.ad.campaign_id,
        price=item.ad.price,
        click_chance=item.ad.click_chance,
        team=item.team,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A logged answer.

    Attributes:
        request_id: Random hexadecimal number that events name.
        scenario: Scenario that answered.
        version: Version that answered.
        time: Time of the answer.
        seconds: Duration of the answer; None in logs of the first versions.
        arm: Arm of the rollout that the answer counts for; the champion's without a rollout.
        user: Pseudonym; None for an anonymous visitor.
        session: Pseudonym of the session, if known.
        fault: Why the version of the arm did not answer itself; None if it did.
        rollout: Running rollout that the user or session takes part in.
        step: Step of this rollout.
        request_json: Parameters of the request as JSON; empty where it was not read from the log.
        items: The items; empty where they were not read from the log.
    """

    request_id: str
    scenario: str
    version: str
    time: float
    arm: str
    seconds: float | None = None
    user: str | None = None
    session: str | None = None
    fault: str | None = None
    rollout: str | None = None
    step: int | None = None
    request_json: str = ""
    items: tuple[LoggedItem, ...] = ()

    @property
    def unit(self) -> str | None:
        """The user, else the session: the unit of randomisation and evaluation."""
        if self.user is not None:
            return self.user
        return self.session

    @property
    def product_ids(self) -> frozenset[str]:
        """Products of the answer."""
        return frozenset(item.product_id for item in self.items)


@dataclass(frozen=True)
class ShadowAnswer:
    """What is logged of an answer that a candidate computed in shadow mode.

    Attributes:
        rollout: Id of the rollout.
        seconds: How long the candidate took.
        fault: Why there is no valid answer, if there is none.
        overlap: Share of the champion's products that the candidate's answer has, too.
    """

    rollout: str
    seconds: float
    fault: str | None = None
    overlap: float = 0.0
