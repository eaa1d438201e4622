"""Interfaces of scorers and data splits, and of what serving injects.

They know nothing of how a model is trained, how logs are stored or how the service is reached.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Floats, Ints
from vetrina.core.delta_index import DeltaIndex
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.training_data import TrainingData


class History:
    """What is known of one user at one time.

    Attributes:
        items: (n,) indices of the items of the latest events, newest last.
        times: (n,) seconds of these events.
        counts_items: (m,) indices of all items that the user interacted with.
        counts: (m,) exponentially decayed counts of these items at ``now``; see ``features.decayed_counts``.
        now: Seconds since 1970.
        user: Pseudonym; None for an anonymous visitor.
    """

    __slots__ = ("counts", "counts_items", "items", "now", "times", "user")

    def __init__(
        self,
        items: Ints,
        times: NDArray[np.float64],
        counts_items: Ints,
        counts: NDArray[np.float64],
        now: float,
        user: str | None = None,
    ) -> None:
        self.items = items
        self.times = times
        self.now = now
        self.user = user
        self.counts_items = counts_items
        self.counts = counts


@runtime_checkable
class Scorer(Protocol):
    """What ``models/NAME/online.py`` loads for a model that scores the catalogue. It needs NumPy and ONNX Runtime only."""

    def score(self, history: History) -> Floats:
        """(items,) one score per catalogue item; 0 where the model makes no prediction."""
        ...


class DataSplits(Protocol):
    """The data of one snapshot for one scenario, split into fit, validation and holdout. ``data.splits`` has the usual ones."""

    def fit_and_validation(self) -> tuple[TrainingData, EvaluationData | None]:
        """Data before the validation period, and the validation period; None where there is nothing to tune on."""
        ...

    def judged_data(self) -> TrainingData:
        """Fit and validation data together."""
        ...

    def holdout(self) -> EvaluationData:
        """Held-out data, for the gate and reports only."""
        ...

    def all_data(self) -> TrainingData:
        """All data, for the served file."""
        ...


class RecentEvents(Protocol):
    """Injected by serving: events since the bundle was built."""

    def for_user(
        self, user: str | None, session: str | None, since: float, after_seq: int
    ) -> Iterable[tuple[str, float, float]]:
        """Recent events of a user or session.

        Args:
            user: Pseudonym of the user; None for an anonymous visitor.
            session: Pseudonym of the session, if known.
            since: Events at or after this time are returned, in seconds since 1970 ...
            after_seq: ... and so are events with a larger sequence number than this one.

        Returns:
            (product_id, time, weight) of each event, oldest first.
        """
        ...


class CatalogueDelta(Protocol):
    """Injected by serving: products that were added, changed or deleted since the bundle was built."""

    def changes_after(self, after_seq: int) -> DeltaIndex:
        """Changes with a larger sequence number than ``after_seq``."""
        ...


class SpendLedger(Protocol):
    """Injected by serving: spend of campaigns, impressions per user, and recent click rates of ads."""

    def daily_spend(self, campaign: str, now: float) -> float:
        """Cost of a campaign's clicks on the day of ``now`` (UTC), in the shop's currency."""
        ...

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """Impressions of a user or session on the day of ``now`` (UTC), by ad."""
        ...

    def pacing(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """Pacing that makes a daily budget last.

        Args:
            campaign: Id of the campaign.
            budget: Its daily budget, in the shop's currency.
            now: Seconds since 1970.

        Returns:
            The multiplier of the campaign's bids, 0 to 1, and the share of answers in which it takes part.
        """
        ...

    def click_correction(self, ad: str, now: float) -> float:
        """Ratio of recent clicks on an ad to predicted clicks, shrunk towards 1."""
        ...


class EmptySpendLedger:
    """A ledger without any spend, impressions or clicks."""

    def daily_spend(self, campaign: str, now: float) -> float:
        """No spend."""
        return 0.0

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """No impressions."""
        return {}

    def pacing(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """Unchanged bids in all answers."""
        return 1.0, 1.0

    def click_correction(self, ad: str, now: float) -> float:
        """No correction."""
        return 1.0


@dataclass(frozen=True)
class Context:
    """What serving injects into an answer.

    Attributes:
        now: Time of the request in seconds since 1970.
        goals: Weights of the shop's business objectives, by their names in ``[goals]``.
    """

    recent_events: RecentEvents
    catalogue_delta: CatalogueDelta
    now: float
    spend_ledger: SpendLedger = field(default_factory=EmptySpendLedger)
    goals: Mapping[str, float] = field(default_factory=dict[str, float])
