"""Data that models are trained on.

Times are seconds since 1970-01-01 UTC. Users are pseudonyms.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Floats, Ints
from vetrina.core.labelled_tables import EncodedTable, LabelledTable


@dataclass(frozen=True)
class Catalogue:
    """Products in the order of their index. Missing text is empty, missing numbers are NaN.

    Attributes:
        available_at: (n,) time from which a product is sold.
        last_seq: Last included sequence number of the service's product log.
        property_tokens: Properties of each product, such as "brand: Alder" or "colour: red"; empty without properties.
        images: File or URL of each product's image; empty strings for products without one.
        costs: (n,) what a product costs the shop, NaN if unknown.
        embeddings: (n, width) vectors given by the shop, for example of audio or video; zeros for products without one.
        return_rates: (n,) share of a product's purchases that were returned.
    """

    product_ids: NDArray[np.str_]
    titles: tuple[str, ...]
    descriptions: tuple[str, ...]
    categories: tuple[str, ...]
    brands: tuple[str, ...]
    attributes: tuple[str, ...]
    prices: NDArray[np.float64]
    stock: NDArray[np.float64]
    available_at: NDArray[np.float64]
    last_seq: int = 0
    property_tokens: tuple[tuple[str, ...], ...] = ()
    images: tuple[str, ...] = ()
    costs: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    embeddings: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))
    return_rates: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.product_ids)


@dataclass(frozen=True)
class Interactions:
    """Weighted user-item events, oldest first.

    Attributes:
        users: Pseudonyms, sorted.
        user: (n,) indices into ``users``.
        item: (n,) indices into the catalogue.
        time: (n,) seconds.
        weight: (n,) weight of the event type.
        until: End of the period, exclusive.
        last_seq: Last sequence number of the service's event log that was read.
    """

    users: NDArray[np.str_]
    user: Ints
    item: Ints
    time: NDArray[np.float64]
    weight: Floats
    until: float
    last_seq: int = 0

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_user_timestamps(self) -> int:
        """Number of distinct (user, time) pairs.

        It equals the number of events in a log of clicks and is smaller in a log of baskets.
        """
        if len(self.user) == 0:
            return 0
        order = np.lexsort((self.time, self.user))
        user = self.user[order]
        time = self.time[order]
        user_changes = user[1:] != user[:-1]
        time_changes = time[1:] != time[:-1]
        return int((user_changes | time_changes).sum()) + 1


@dataclass(frozen=True)
class SocialGraph:
    """Directed graph of users: ``users[follower[k]]`` follows ``users[followee[k]]``. Friends follow each other.

    Attributes:
        users: Pseudonyms, sorted.
        follower: (n,) indices into ``users``.
        followee: (n,) indices into ``users``; each pair occurs once and no user follows themselves.
    """

    users: NDArray[np.str_]
    follower: Ints
    followee: Ints

    def __len__(self) -> int:
        return len(self.follower)


@dataclass(frozen=True)
class AdImpressions:
    """Ad impressions with their clicks and purchases, oldest first.

    Attributes:
        users: Pseudonyms, sorted.
        user: (n,) indices into ``users``.
        item: (n,) indices into the catalogue.
        time: (n,) seconds of the impression.
        position: (n,) position of the ad, from 1.
        clicked_at: (n,) seconds of a click within a day of the impression, NaN without one.
        purchased_at: (n,) seconds of a purchase within thirty days of the click, NaN without one.
        until: End of the log: later clicks and purchases do not count.
    """

    users: NDArray[np.str_]
    user: Ints
    item: Ints
    time: NDArray[np.float64]
    position: Ints
    clicked_at: NDArray[np.float64]
    purchased_at: NDArray[np.float64]
    until: float = math.inf

    def __len__(self) -> int:
        return len(self.user)

    @property
    def clicked(self) -> NDArray[np.bool_]:
        """(n,) whether the ad was clicked before ``until``."""
        return self.clicked_at < self.until

    @property
    def purchased(self) -> NDArray[np.bool_]:
        """(n,) whether the product was purchased after a click and before ``until``."""
        return self.clicked & (self.purchased_at < self.until)

    def between(self, since: float, until: float) -> "AdImpressions":
        """Impressions at or after ``since`` and before ``until``, with clicks and purchases before ``until`` only."""
        rows = (self.time >= since) & (self.time < until)
        return AdImpressions(
            self.users,
            self.user[rows],
            self.item[rows],
            self.time[rows],
            self.position[rows],
            self.clicked_at[rows],
            self.purchased_at[rows],
            min(until, self.until),
        )


@dataclass(frozen=True)
class Ad:
    """An ad of a campaign.

    Attributes:
        bid: Highest price of a click.
        daily_budget: Budget of the campaign per day; None for no limit.
        frequency_cap: Highest number of impressions per user and day; 0 for no limit.
        starts_at: Start of the campaign in seconds; None if it has already started.
        ends_at: End of the campaign in seconds; None if it does not end.
        audience: Segment of the target users; empty for all users.
    """

    ad_id: str
    product_id: str
    bid: float
    campaign_id: str
    daily_budget: float | None = None
    frequency_cap: int = 0
    starts_at: float | None = None
    ends_at: float | None = None
    audience: str = ""


@dataclass(frozen=True)
class Judgments:
    """Graded query-product pairs: relevance judgments.

    Attributes:
        query: Query of each pair; pairs of one query are adjacent.
        item: (n,) indices into the catalogue.
        grade: (n,) relevance grades.
    """

    query: tuple[str, ...]
    item: Ints
    grade: Floats

    def by_query(self) -> dict[str, tuple[Ints, Floats]]:
        """Items and grades of each query."""
        rows_by_query: dict[str, list[int]] = {}
        for row, query in enumerate(self.query):
            rows_by_query.setdefault(query, []).append(row)
        return {query: (self.item[rows], self.grade[rows]) for query, rows in rows_by_query.items()}


@dataclass(frozen=True)
class TrainingData:
    """Data that a model may be trained on: the catalogue, events before ``interactions.until``, and labelled data.

    Attributes:
        table: Rows of the labelled table, as the shop gave them.
        encoded_table: The same kind of rows encoded as numbers.
        warm_start_file: State that the same model saved when it was trained on an earlier, shorter period; None for a cold
            start.
        cache: Folder of what all fits of a shop share, such as the embeddings of texts and images; None where nothing is cached.
    """

    catalogue: Catalogue | None = None
    interactions: Interactions | None = None
    judgments: Judgments | None = None
    table: LabelledTable | None = None
    encoded_table: EncodedTable | None = None
    social_graph: SocialGraph | None = None
    ad_impressions: AdImpressions | None = None
    ads: tuple[Ad, ...] = ()
    warm_start_file: Path | None = None
    cache: Path | None = None

    @property
    def cache_folder(self) -> Path:
        """The cache. Raises ValueError without one: models of texts and images are too slow without."""
        if self.cache is None:
            raise ValueError("this model needs a cache folder")
        return self.cache


# State that a model saves for its next, warm-started training. It is never packed into a bundle.
WARM_START_FILE = "memory.npz"
