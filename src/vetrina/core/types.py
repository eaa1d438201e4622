"""Frozen data types that stages exchange.

Nothing here reads a file, opens a model or knows which scenario uses a type. Times are seconds since 1970-01-01 UTC. Users and
sessions are pseudonyms everywhere.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vetrina.core.filters import NO_FILTERS, Filters
from vetrina.core.labelled_tables import EncodedTable, Floats, Ints, LabelledTable, OutOfFoldPredictions

if TYPE_CHECKING:
    from vetrina.core.protocols import Context


@dataclass(frozen=True)
class InputFiles:
    """Input files given by the shop, by table.

    Attributes:
        table: Files of the labelled table of predict.
        label: Name of the label column of ``table``.
    """

    products: tuple[Path, ...] = ()
    events: tuple[Path, ...] = ()
    users: tuple[Path, ...] = ()
    judgments: tuple[Path, ...] = ()
    ads: tuple[Path, ...] = ()
    table: tuple[Path, ...] = ()
    label: str = "label"

    def by_table(self) -> dict[str, tuple[Path, ...]]:
        """Files by table; tables without files are left out."""
        files = {
            "products": self.products,
            "events": self.events,
            "users": self.users,
            "judgments": self.judgments,
            "ads": self.ads,
            "table": self.table,
        }
        return {name: paths for name, paths in files.items() if paths}


@dataclass(frozen=True)
class Cuts:
    """Times at which a log is split: fit data < ``validation`` <= validation data < ``holdout`` <= hold-out data <= ``end``."""

    validation: float
    holdout: float
    end: float


@dataclass(frozen=True)
class Snapshot:
    """An immutable data set: one Parquet file per table in ``folder``.

    Attributes:
        digest: Hash of the content alone: equal rows give an equal digest, whatever files they came in.
        rows: Number of rows by table.
        cuts: Times of the split; None for a data set without events.
        quarantined: Number of rejected rows.
        added: Number of files that the last call of ingest added.
        logged: Last included sequence number of the service's own logs, "events" and "products".
    """

    digest: str
    folder: Path
    rows: Mapping[str, int]
    cuts: Cuts | None
    quarantined: int = 0
    added: int = 0
    logged: Mapping[str, int] = field(default_factory=dict[str, int])


CheckStatus = Literal["PASS", "WARN", "FAIL"]


@dataclass(frozen=True)
class CheckResult:
    """Result of one data check.

    Attributes:
        count: Number of offending rows.
        first: The first offending value, as text.
        meaning: What the finding means for the shop.
        done: What Vetrina does about it, or what the shop should do.
    """

    name: str
    status: CheckStatus
    count: int
    first: str
    meaning: str
    done: str


@dataclass(frozen=True)
class Readiness:
    """Whether the data supports a scenario, why, and what is served as long as it does not (``meanwhile``)."""

    scenario: str
    ready: bool
    why: str
    meanwhile: str


@dataclass(frozen=True)
class DataReport:
    """All checks of one snapshot for one scenario."""

    scenario: str
    snapshot: str
    checks: tuple[CheckResult, ...]
    readiness: Readiness

    @property
    def is_ok(self) -> bool:
        """True if no check failed and the scenario has the tables that it needs."""
        no_check_failed = all(check.status != "FAIL" for check in self.checks)
        return self.readiness.ready and no_check_failed


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
class Targets:
    """Held-out interactions: the distinct items of each user.

    Attributes:
        user_ids: Pseudonyms.
        items: Item indices of each user; -1 is a product outside the catalogue.
    """

    user_ids: tuple[str, ...]
    items: tuple[Ints, ...]


@dataclass(frozen=True)
class LoggedAnswer:
    """A logged answer that can be computed again, for off-policy evaluation.

    Attributes:
        unit_id: The user, or the session of an anonymous visitor.
        request: The request as it was logged.
        context: What serving knew at the time of the request.
        products: Products by position, first position first.
        propensities: Probability with which each product was placed at its position.
        clicked: Whether each product was clicked.
    """

    unit_id: str
    request: "Request"
    context: "Context"
    products: tuple[str, ...]
    propensities: tuple[float, ...]
    clicked: tuple[bool, ...]


@dataclass(frozen=True)
class EvaluationData:
    """Held-out data of one scenario; only the fields that the scenario uses are set.

    Attributes:
        targets: Held-out interactions by user.
        events: All weighted events of the held-out period.
        judgments: Held-out relevance judgments.
        table: Held-out rows of the labelled table.
        out_of_fold: Rows of the table's training data with predictions by models that were trained without them.
        now: Start of the held-out period.
        logged_answers: Answers of the log that can be computed again.
        ad_impressions: Ad impressions of the held-out period.
    """

    targets: Targets | None = None
    events: "Interactions | None" = None
    judgments: Judgments | None = None
    table: LabelledTable | None = None
    out_of_fold: OutOfFoldPredictions | None = None
    now: float = 0.0
    logged_answers: tuple[LoggedAnswer, ...] = ()
    ad_impressions: AdImpressions | None = None


# State that a model saves for its next, warm-started training. It is never packed into a bundle.
WARM_START_FILE = "memory.npz"


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


@dataclass(frozen=True)
class TrainingPlan:
    """Everything decided before training starts; the same plan and data reproduce the result.

    Attributes:
        seed: Seed of all random numbers.
        budget_seconds: Wall time of the whole run.
        threads: Threads that a model may use.
        settings: Hyper-parameters by model, where they differ from the defaults (``hyperparameters`` of its ``model.py``).
        without: Models that are not trained, by choice or because the budget does not suffice.
        halvings: How often the chunk size was halved because memory was short.
        warm: Whether networks are initialised from the last training with the same architecture (warm start).
        begin_before: A warm start may use trainings on data before this time only.
        trials: Number of hyper-parameter trials on validation data, by model.
        folds: Folds of a table, the validation rows among them, whose rows are predicted out of fold; 0 if not planned.
        encoder: Pretrained text encoder; empty for the default.
        goal: What the decision threshold of predict is chosen for; empty for 0.5.
        optimiser: Optimiser of networks.
        loss: Loss function of networks.
        foreign: ONNX file of an external model; empty for none.
        foreign_inputs: Columns of the external model's only input matrix; empty if it has one input per column.
        image_hosts: Hosts in the shop's own network that images may be downloaded from.
        answers: Answers that may be computed to judge compression variants, beside the least aggressive of each model.
    """

    seed: int = 42
    budget_seconds: float = 600.0
    threads: int = 2
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    without: tuple[str, ...] = ()
    halvings: int = 0
    warm: bool = False
    begin_before: float = math.inf
    trials: Mapping[str, int] = field(default_factory=dict[str, int])
    folds: int = 0
    encoder: str = ""
    goal: str = ""
    optimiser: str = "adam"
    loss: str = "cross-entropy"
    foreign: str = ""
    foreign_inputs: tuple[str, ...] = ()
    image_hosts: tuple[str, ...] = ()
    answers: int = 40_000

    @property
    def n_chunks(self) -> int:
        """Number of chunks in which a model processes what it usually processes at once; more chunks need less memory."""
        return 2**self.halvings

    def hyperparameters_of(self, model: str, defaults: Mapping[str, float]) -> dict[str, float]:
        """Hyper-parameters of a model: its ``defaults``, overridden by those of this plan."""
        return {**defaults, **self.settings.get(model, {})}


@dataclass(frozen=True)
class Recipe:
    """The models that a scenario combines, the baselines that it must not lose to, and its quality metric.

    ``settings`` holds hyper-parameters by model where they differ from the model's own.
    """

    scenario: str
    models: tuple[str, ...]
    baselines: tuple[str, ...]
    metric: str
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])


@dataclass(frozen=True)
class TrainNotes:
    """What the training of a model found.

    Attributes:
        hyperparameters: What later fits repeat, such as the epoch after which to stop; empty for the plan's hyper-parameters.
        validation_curve: Metric on held-out data after each epoch; empty where nothing is held out.
        report: Facts for people, as JSON values.
    """

    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    validation_curve: tuple[float, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """Trained float models in ``folder``, one sub-folder per model, beside ``scenario.json``."""

    scenario: str
    folder: Path
    notes: Mapping[str, TrainNotes]


@dataclass(frozen=True)
class Bundle:
    """A signed manifest of content-addressed parts with everything that a scenario needs for serving.

    Attributes:
        digest: SHA-256 of the manifest.
        parts: SHA-256 of each file, by its path within the bundle.
        notes: Facts of the training run for reports and serving.
    """

    digest: str
    scenario: str
    parts: Mapping[str, str]
    notes: Mapping[str, Any]

    @property
    def version(self) -> str:
        """Name of the version: the scenario and the first digits of the digest."""
        return f"{self.scenario}-{self.digest[:12]}"


@dataclass(frozen=True)
class MetricValues:
    """Quality per evaluation unit: a user, a query or a row.

    Attributes:
        metric: Name of the metric.
        unit_ids: Identifier of each unit.
        values: (n,) metric values.
        slices: (n,) membership of the units, by name of the slice.
    """

    metric: str
    unit_ids: tuple[str, ...]
    values: NDArray[np.float64]
    slices: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict[str, NDArray[np.bool_]])


@dataclass(frozen=True)
class Interval:
    """A point estimate with its 95 % bootstrap interval."""

    point: float
    low: float
    high: float


@dataclass(frozen=True)
class Reason:
    """One finding of the gate or of a rollout.

    Attributes:
        code: Stable name of the rule, for programs.
        passed: Whether the rule is met.
        text: The finding in a sentence, for people.
        numbers: Figures behind the finding, by name.
        evaluable: False if there was too little data to decide; such a finding neither blocks a release nor supports it.
    """

    code: str
    passed: bool
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])
    evaluable: bool = True


VerdictOutcome = Literal["pass", "fail", "baseline"]


@dataclass(frozen=True)
class Verdict:
    """The gate's recorded decision on a candidate.

    Attributes:
        id: Identifier of the verdict.
        candidate: Version that was evaluated.
        champion: Version that it was compared with; None for the first version of a scenario.
        outcome: "baseline" where nothing could be judged and the baseline is released.
        reasons: Findings that led to the outcome.
        smallest_visible_loss: Minimum detectable relative loss of quality; None if it cannot be computed.
    """

    id: str
    candidate: str
    champion: str | None
    outcome: VerdictOutcome
    reasons: tuple[Reason, ...]
    smallest_visible_loss: float | None

    @property
    def may_release(self) -> bool:
        """True if the candidate passed, or is the baseline where nothing could be judged."""
        return self.outcome != "fail"


KindOfChange = Literal["first", "full after quick", "refresh", "change"]


@dataclass(frozen=True)
class ReleaseResult:
    """Outcome of a release.

    Attributes:
        mode: "first" version of the scenario, decided "offline" by the gate, or "live" while users are served.
        outcome: "promoted" to champion, "returned" (rejected), or "testing" in a canary.
        verdict: Identifier of the gate's verdict.
        note: The outcome in a sentence.
        kind: What the version changes: nothing served before it, it is the "full" recipe "after" a "quick" one, a "refresh" with
            newer data, or a "change" of models, settings or code; None in records of earlier versions.
        is_watched: Whether the version before goes on answering a holdback of users, so that harm is noticed.
        is_quick: Whether it is a version of the quick recipe, so that the full one is still to be trained.
    """

    version: str
    scenario: str
    mode: Literal["first", "offline", "live"]
    outcome: Literal["promoted", "returned", "testing"]
    verdict: str
    note: str
    kind: KindOfChange | None = None
    is_watched: bool = False
    is_quick: bool = False


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
    ad: "AdPlacement | None" = None
    propensity: float = 1.0
    team: str = ""


@dataclass(frozen=True)
class AdPlacement:
    """An ad that won a position: a click costs ``price`` and is predicted with probability ``click_chance``."""

    ad_id: str
    campaign_id: str
    price: float
    click_chance: float


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
class Request:
    """A user's request for ranked products.

    Attributes:
        user: Pseudonym; None for an anonymous visitor.
        session: Pseudonym of the session, if known.
        query: Search text.
        product_ids: Products of the page or basket that the answer is related to.
        placement: Where the answer is shown, such as "home".
        filters: What the products must be.
        facets: Fields whose values are counted.
        sort: Sort order; empty for relevance.
        offset: Number of items that are skipped.
        limit: Number of items of the answer.
        personalise: Whether the user's history may be used.
        exclude_seen: Whether products that the user interacted with are left out; None leaves it to the scenario.
        explain: Whether items carry reasons.
    """

    user: str | None = None
    session: str | None = None
    query: str = ""
    product_ids: tuple[str, ...] = ()
    placement: str = "home"
    filters: Filters = NO_FILTERS
    facets: tuple[str, ...] = ()
    sort: str = ""
    offset: int = 0
    limit: int = 10
    personalise: bool = True
    exclude_seen: bool | None = None
    explain: bool = False


@dataclass(frozen=True)
class AudienceRequest:
    """A request for target users: for a product, similar to seed users, or of a segment. Users are pseudonyms.

    Attributes:
        product_id: Product that the audience is for.
        size: Number of users.
        seed_users: Users that the audience is to be similar to.
        segment: Segment that the audience is taken from; empty for none.
        contact_counts: Number of recent messages by user; each message halves the user's score.
        eligible_users: Users who may be contacted; None for all.
    """

    product_id: str | None = None
    size: int = 100
    seed_users: tuple[str, ...] = ()
    segment: str = ""
    contact_counts: Mapping[str, int] = field(default_factory=dict[str, int])
    eligible_users: frozenset[str] | None = None


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
