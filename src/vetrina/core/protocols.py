"""The small interfaces that models, scenarios and features keep, and what serving injects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vetrina.core.compression import CompressionVariant, DistillationData
from vetrina.core.delta_index import DeltaIndex
from vetrina.core.progress import Progress
from vetrina.core.types import EvaluationData, Floats, Ints, MetricValues, Recipe, TrainingData, TrainingPlan

State = TypeVar("State")


class Model(Protocol):
    """``models/<name>/train.py``: learns, and writes its float form into a folder."""

    def fit(self, training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
        """Learn from ``past``, write parts into ``into``, return notes for the report."""
        ...


class Compressor(Protocol):
    """``models/<name>/compress.py``, optional: writes smaller forms that the same ``online.py`` opens."""

    VARIANTS: Sequence[CompressionVariant]  # those that answer with the least work first

    def compress(
        self, source: Path, into: Path, variant: CompressionVariant, distillation_data: DistillationData
    ) -> None:
        """One of FORMS of what lies in ``source``. Raises Unfit where it cannot be made of this one."""
        ...


class History:
    """What is known of one user at one moment, newest last.

    ``items`` (n,) and ``times`` (n,) are the last events; ``counts_items`` (m,) and ``counts`` (m,) are the
    decayed counts of everything, see ``features.decayed_counts``; they are worth ``counts`` at ``now``. ``user`` is the
    pseudonym, None of a visit of somebody unnamed.
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
    """``models/<name>/online.py``: ``open(folder)`` gives one; numpy and ONNX Runtime only."""

    def score(self, history: History) -> Floats:
        """One score per catalogue item, shape (items,); 0 where the model has nothing to say."""
        ...


class Scenario(Protocol):
    """``scenarios/<name>``: a recipe, an answer and an evaluation."""

    recipe: Recipe

    def evaluate(self, folder: Path, evaluation_data: EvaluationData) -> MetricValues:
        """One score per user, query or row of ``evidence``."""
        ...


class Feature(Protocol[State]):
    """State folded over events. Batch is the same fold, vectorised."""

    def update(self, state: State, item: int, time: float, weight: float) -> State:
        """The state after one more event."""
        ...

    def value(self, state: State, now: float) -> Any:
        """What models see at ``now``."""
        ...


class RecentEvents(Protocol):
    """Injected by serve: what happened since the bundle was built."""

    def for_user(
        self, user: str | None, session: str | None, since: float, after_seq: int
    ) -> Iterable[tuple[str, float, float]]:
        """(product_id, time, weight), oldest first, of events at or after ``until`` or beyond number ``logged``."""
        ...


class CatalogueDelta(Protocol):
    """Injected by serve: products that came, changed or went since the bundle was built."""

    def changes_after(self, after_seq: int) -> DeltaIndex:
        """What changed beyond number ``logged`` of the log."""
        ...


class SpendLedger(Protocol):
    """Injected by serve: what campaigns have spent and users have seen today, and how ads did of late."""

    def daily_spend(self, campaign: str, now: float) -> float:
        """What clicks have cost a campaign on the day of ``now`` (UTC)."""
        ...

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """How often a user or session was shown each ad on the day of ``now``."""
        ...

    def pacing(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """What a campaign's values are multiplied by (0 to 1) so that its daily budget lasts, and the share of answers in which
        it takes part."""
        ...

    def click_correction(self, ad: str, now: float) -> float:
        """Clicks of late over the clicks that were expected, drawn towards 1."""
        ...


class EmptySpendLedger:
    """A ledger in which nothing has happened yet."""

    def daily_spend(self, campaign: str, now: float) -> float:
        """Nothing."""
        return 0.0

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """Nothing."""
        return {}

    def pacing(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """Full values, everywhere."""
        return 1.0, 1.0

    def click_correction(self, ad: str, now: float) -> float:
        """As expected."""
        return 1.0


@dataclass(frozen=True)
class Context:
    """What serving injects into an answer."""

    recent_events: RecentEvents
    catalogue_delta: CatalogueDelta
    now: float
    spend_ledger: SpendLedger = field(default_factory=EmptySpendLedger)
    goals: Mapping[str, float] = field(default_factory=dict)  # the shop's, as ``[goals]`` names them
