"""The small interfaces that models, scenarios and features keep, and what serving injects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vetrina.core.compression import Form, Lesson
from vetrina.core.delta import Delta
from vetrina.core.progress import Progress
from vetrina.core.types import Evidence, Floats, Ints, Past, Plan, Recipe, Scores

State = TypeVar("State")


class Model(Protocol):
    """``models/<name>/train.py``: learns, and writes its float form into a folder."""

    def fit(self, past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
        """Learn from ``past``, write parts into ``into``, return notes for the report."""
        ...


class Compressor(Protocol):
    """``models/<name>/compress.py``, optional: writes smaller forms that the same ``online.py`` opens."""

    FORMS: Sequence[Form]  # those that answer with the least work first

    def compress(self, source: Path, into: Path, form: Form, lesson: Lesson) -> None:
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
        self.items, self.times, self.now, self.user = items, times, now, user
        self.counts_items, self.counts = counts_items, counts


@runtime_checkable
class Scorer(Protocol):
    """``models/<name>/online.py``: ``open(folder)`` gives one; numpy and ONNX Runtime only."""

    def score(self, history: History) -> Floats:
        """One score per catalogue item, shape (items,); 0 where the model has nothing to say."""
        ...


class Scenario(Protocol):
    """``scenarios/<name>``: a recipe, an answer and an evaluation."""

    recipe: Recipe

    def evaluate(self, folder: Path, evidence: Evidence) -> Scores:
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

    def of(
        self, user: str | None, session: str | None, until: float, logged: int
    ) -> Iterable[tuple[str, float, float]]:
        """(product_id, time, weight), oldest first, of events at or after ``until`` or beyond number ``logged``."""
        ...


class CatalogueDelta(Protocol):
    """Injected by serve: products that came, changed or went since the bundle was built."""

    def after(self, logged: int) -> Delta:
        """What changed beyond number ``logged`` of the log."""
        ...


class SpendLedger(Protocol):
    """Injected by serve: what campaigns have spent and users have seen today, and how ads did of late."""

    def spent(self, campaign: str, now: float) -> float:
        """What clicks have cost a campaign on the day of ``now`` (UTC)."""
        ...

    def seen(self, person: str, now: float) -> Mapping[str, int]:
        """How often a user or session was shown each ad on the day of ``now``."""
        ...

    def pace(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """What a campaign's values are multiplied by (0 to 1) so that its daily budget lasts, and the share of answers in which
        it takes part."""
        ...

    def correction(self, ad: str, now: float) -> float:
        """Clicks of late over the clicks that were expected, drawn towards 1."""
        ...


class Unspent:
    """A ledger in which nothing has happened yet."""

    def spent(self, campaign: str, now: float) -> float:
        """Nothing."""
        return 0.0

    def seen(self, person: str, now: float) -> Mapping[str, int]:
        """Nothing."""
        return {}

    def pace(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """Full values, everywhere."""
        return 1.0, 1.0

    def correction(self, ad: str, now: float) -> float:
        """As expected."""
        return 1.0


@dataclass(frozen=True)
class Context:
    """What serving injects into an answer."""

    events: RecentEvents
    products: CatalogueDelta
    now: float
    ledger: SpendLedger = field(default_factory=Unspent)
    goals: Mapping[str, float] = field(default_factory=dict)  # the shop's, as ``[goals]`` names them
