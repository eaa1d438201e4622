"""Exposures: what is logged of an answer that was given, for evaluation, billing and monitoring.

Nothing here knows how an answer is computed or where an exposure is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from vetrina.core.rollout_types import CHAMPION


class ExposedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item of a ranked answer as it is logged.

    Attributes:
        position: Position in the list, from 1.
        propensity: Probability with which the product was placed there.
        ad_id: The ad, if the position was sold; so are ``campaign_id``, ``price`` of a click and ``click_chance``.
        team: The version that picked the item of an interleaved list; empty if both have it there.
    """

    product_id: str
    position: int
    propensity: float
    score: float
    ad_id: str | None = None
    campaign_id: str | None = None
    price: float | None = None
    click_chance: float | None = None
    team: str | None = None


class ExposedPrediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One prediction as it is logged: the probability of a yes or no, or the number that is predicted."""

    position: int
    probability: float | None = None
    prediction: float | None = None


@dataclass(frozen=True)
class Exposure:
    """An answer that was given: what was requested, which version answered, and what was shown.

    Attributes:
        time: Time of the request in seconds since 1970.
        seconds: How long the computation took.
        request: Parameters of the request that differ from their defaults, without user and session.
        items: What was shown, first position first; empty where nothing of it is logged.
        arm: Arm of the user or session in the experiment; CHAMPION outside of one.
        user: Pseudonym; None for an anonymous visitor.
        session: Pseudonym of the session, if known.
        fault: Why the version of the arm did not answer, if another one had to.
        rollout: Id of the rollout that the exposure counts for, if it does.
        step: Step of that rollout.
    """

    request_id: str
    scenario: str
    version: str
    time: float
    seconds: float
    request: Mapping[str, object] = field(default_factory=dict)
    items: Sequence[ExposedItem | ExposedPrediction] = ()
    arm: str = CHAMPION
    user: str | None = None
    session: str | None = None
    fault: str | None = None
    rollout: str | None = None
    step: int | None = None


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
