"""Ranked answers and audiences. Users are pseudonyms."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AdPlacement:
    """An ad that won a position: a click costs ``price`` and is predicted with probability ``click_chance``."""

    ad_id: str
    campaign_id: str
    price: float
    click_chance: float


@dataclass(frozen=True)
class RankedItem:
    """One item of a ranked answer.

    Attributes:
        reasons: Why the item is there, for people; the main reason first.
        ad: The ad that won the position, if it was sold.
        propensity: Probability with which serving places the product there; below 1 where it explores.
        team: The arm whose version picked the item of an interleaved list; empty if both have it there, and in other lists.
    """

    product_id: str
    title: str
    score: float
    reasons: tuple[str, ...] = ()
    ad: AdPlacement | None = None
    propensity: float = 1.0
    team: str = ""


@dataclass(frozen=True)
class AuctionEntry:
    """An ad that took part in an auction.

    Attributes:
        campaign_id: Its campaign.
        min_winning_multiplier: The ad wins a position if its value is multiplied by more than this; 0 without competition.
        expected_spend: Expected cost to the campaign if it wins.
    """

    campaign_id: str
    min_winning_multiplier: float
    expected_spend: float


@dataclass(frozen=True)
class Answer:
    """A ranked answer.

    Attributes:
        items: The requested page of items, best first.
        total: Number of all matching products.
        facets: Number of matching products by facet and value.
        offers: Ads that took part in the auction.
    """

    items: tuple[RankedItem, ...]
    total: int
    facets: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    offers: tuple[AuctionEntry, ...] = ()


@dataclass(frozen=True)
class AudienceMember:
    """One user of an audience, with the reason for the selection."""

    user: str
    score: float
    reason: str


@dataclass(frozen=True)
class Audience:
    """Target users, best first; ``total`` is the number of users that were eligible."""

    members: tuple[AudienceMember, ...]
    total: int
