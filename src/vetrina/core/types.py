"""The frozen values that stages hand to each other."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vetrina.core.labelled_tables import EncodedTable, Floats, Ints, LabelledTable

if TYPE_CHECKING:
    from vetrina.core.protocols import Context


@dataclass(frozen=True)
class InputFiles:
    """Files a person named, by table; ``label`` names the answer column of ``table``."""

    products: tuple[Path, ...] = ()
    events: tuple[Path, ...] = ()
    users: tuple[Path, ...] = ()
    judgments: tuple[Path, ...] = ()
    ads: tuple[Path, ...] = ()
    table: tuple[Path, ...] = ()
    label: str = "label"

    def by_table(self) -> dict[str, tuple[Path, ...]]:
        """The named files by table, tables without files left out."""
        tables = ("products", "events", "users", "judgments", "ads", "table")
        return {name: getattr(self, name) for name in tables if getattr(self, name)}


@dataclass(frozen=True)
class Cuts:
    """Seconds since 1970: fit < validation <= validation period < holdout <= holdout period <= end."""

    validation: float
    holdout: float
    end: float


@dataclass(frozen=True)
class Snapshot:
    """An immutable data set. ``digest`` depends on content alone; ``folder`` holds one Parquet file a table.

    ``logged`` maps "events" and "products" to the last number of the service's own logs that is inside.
    """

    digest: str
    folder: Path
    rows: Mapping[str, int]
    cuts: Cuts | None
    quarantined: int = 0
    added: int = 0
    logged: Mapping[str, int] = field(default_factory=dict)


CheckStatus = Literal["PASS", "WARN", "FAIL"]


@dataclass(frozen=True)
class CheckResult:
    """What one check saw: how many rows offend, the first of them, what it means, what was done."""

    name: str
    status: CheckStatus
    count: int
    first: str
    meaning: str
    done: str


@dataclass(frozen=True)
class Readiness:
    """Whether this data supports a scenario, why, and what is served meanwhile."""

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
        """No check failed and the scenario has what it needs."""
        return self.readiness.ready and all(c.status != "FAIL" for c in self.checks)


@dataclass(frozen=True)
class Catalogue:
    """Products in the order of their index. Missing text is empty, missing numbers are NaN.

    ``tokens`` are the named properties of each product ("brand: Alder", "colour: red"), none where there are none.
    ``logged`` is the last number of the service's product log that is inside. ``images`` are files or URLs, empty where there
    is none; ``costs`` what a product costs the shop, NaN for unknown; ``embeddings`` (n, width) vectors that the shop gives, of a
    sound or a film perhaps, zeros for products without; ``returned`` the share of each product's purchases
    that were sent back.
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
    """Events that say something about taste, oldest first.

    ``user`` (n,) indexes ``users`` (pseudonyms, sorted); ``item`` (n,) indexes the catalogue; ``time`` (n,) in
    seconds; ``weight`` (n,) by event type. ``until`` is the moment at which the past ends, ``logged`` the last number
    of the service's event log that was looked at.
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
        """How many distinct (user, time) there are: as many as events in a log of clicks, fewer where baskets are bought."""
        order = np.lexsort((self.time, self.user))
        user = self.user[order]
        time = self.time[order]
        return int(((user[1:] != user[:-1]) | (time[1:] != time[:-1])).sum()) + bool(len(user))


@dataclass(frozen=True)
class SocialGraph:
    """Who listens to whom: user ``users[user[k]]`` to ``users[other[k]]``; friends are there both ways.

    ``users`` are pseudonyms, sorted; ``user`` and ``other`` (n,) index them, each pair once, nobody with themselves.
    """

    users: NDArray[np.str_]
    follower: Ints
    followee: Ints

    def __len__(self) -> int:
        return len(self.follower)


@dataclass(frozen=True)
class AdImpressions:
    """Ads that were shown, oldest first: ``user`` (n,) indexes ``users`` (pseudonyms, sorted), ``item`` (n,) the catalogue.

    ``time`` in seconds, ``place`` from 1; ``clicked_at`` within a day and ``bought_at`` within thirty days of the click, seconds
    (n,), NaN for what did not happen. ``until`` is the moment at which the log ends: later clicks and purchases are not known.
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
        """(n,) by now."""
        return self.clicked_at < self.until

    @property
    def purchased(self) -> NDArray[np.bool_]:
        """(n,) by now."""
        return self.clicked & (self.purchased_at < self.until)

    def between(self, since: float, until: float) -> "AdImpressions":
        """Those shown at or after ``since`` and before ``until``, and what is known of them then."""
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
    """An ad as its campaign runs it. ``bid`` is the most that a click may cost; ``audience`` names a segment, empty for all.

    ``daily_budget`` of the campaign, None for no limit; ``frequency_cap`` a user and day, 0 for none; moments in seconds, None
    for always.
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
    """Graded query-product pairs; ``item`` indexes the catalogue, pairs of one query stand together."""

    query: tuple[str, ...]
    item: Ints
    grade: Floats

    def by_query(self) -> dict[str, tuple[Ints, Floats]]:
        """Items and grades of each query."""
        found: dict[str, list[int]] = {}
        for row, query in enumerate(self.query):
            found.setdefault(query, []).append(row)
        return {q: (self.item[rows], self.grade[rows]) for q, rows in found.items()}


@dataclass(frozen=True)
class Targets:
    """What a set of users really did next: for each user index the distinct items, -1 for one outside the catalogue."""

    user_ids: tuple[str, ...]
    items: tuple[Ints, ...]


@dataclass(frozen=True)
class LoggedAnswer:
    """An answer of the log that can be asked for again: ``context`` is as of then.

    ``products``, ``propensities`` and ``clicked`` are by place from the first; a propensity is the chance that the product had
    to stand there.
    """

    unit_id: str
    request: "Request"
    context: "Context"
    products: tuple[str, ...]
    propensities: tuple[float, ...]
    clicked: tuple[bool, ...]


@dataclass(frozen=True)
class EvaluationData:
    """Held-out data of one scenario; only the fields that the scenario uses are set. ``events`` are those of the period."""

    targets: Targets | None = None
    events: "Interactions | None" = None
    judgments: Judgments | None = None
    table: LabelledTable | None = None
    now: float = 0.0
    logged_answers: tuple[LoggedAnswer, ...] = ()
    ad_impressions: AdImpressions | None = None


WARM_START_FILE = "memory.npz"  # what a model leaves to its next training; never packed


@dataclass(frozen=True)
class TrainingData:
    """What a model may see: the catalogue, the behaviour before ``interactions.until``, and labelled extras.

    ``earlier`` is what the same model learnt from an earlier and shorter past, for models that leave something.
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


@dataclass(frozen=True)
class TrainingPlan:
    """Everything decided before training starts; replaying it reproduces the result.

    ``settings`` maps a model to the settings that differ from its own (``SETTINGS`` in its ``train.py``), ``without`` are the
    models that the budget does not pay for. ``halvings`` says how often the work done at once was halved because memory was
    short. A ``warm`` training begins where the last one of the same form ended that knew nothing after ``begin_before``.
    ``trials`` maps a model to how many settings are tried on validation. ``encoder`` names the pretrained text encoder,
    ``goal`` what the threshold of predict is chosen for, ``optimiser`` and ``loss`` how networks learn. ``foreign`` is the
    file of a model brought along, ``foreign_inputs`` the columns of its one matrix, if that is what it wants. ``answers`` may be
    asked to judge small forms beside the gentlest of each model.
    """

    seed: int = 42
    budget_seconds: float = 600.0
    threads: int = 2
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    halvings: int = 0
    warm: bool = False
    begin_before: float = math.inf
    trials: Mapping[str, int] = field(default_factory=dict)
    encoder: str = ""
    goal: str = ""
    optimiser: str = "adam"
    loss: str = "cross-entropy"
    foreign: str = ""
    foreign_inputs: tuple[str, ...] = ()
    answers: int = 40_000

    @property
    def n_chunks(self) -> int:
        """Into how many pieces a model cuts the work that it usually does at once; more pieces need less memory."""
        return 2**self.halvings

    def hyperparameters_of(self, model: str, defaults: Mapping[str, float]) -> dict[str, float]:
        """The settings of a model: its ``usual`` ones with those of this plan."""
        return {**defaults, **self.settings.get(model, {})}


@dataclass(frozen=True)
class Recipe:
    """The models a scenario combines, and the dull ones it must not lose to."""

    scenario: str
    models: tuple[str, ...]
    baselines: tuple[str, ...]
    metric: str


@dataclass(frozen=True)
class Checkpoint:
    """Float models in ``folder``, one sub-folder a model, beside ``scenario.json``."""

    scenario: str
    folder: Path
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A signed manifest of content-addressed parts with everything a scenario needs to serve."""

    digest: str
    scenario: str
    parts: Mapping[str, str]
    notes: Mapping[str, Any]

    @property
    def version(self) -> str:
        """What people call it."""
        return f"{self.scenario}-{self.digest[:12]}"


@dataclass(frozen=True)
class MetricValues:
    """One quality value per user, query or row, and the slices that hold each unit."""

    metric: str
    unit_ids: tuple[str, ...]
    values: NDArray[np.float64]
    slices: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """A point with its 95 % bootstrap interval."""

    point: float
    low: float
    high: float


@dataclass(frozen=True)
class Reason:
    """One finding of the gate, for a merchandiser (``text``) and for a machine (the rest).

    What could not be evaluated stands in nobody's way and is no pass either: ``evaluable`` is False.
    """

    code: str
    passed: bool
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    evaluable: bool = True


VerdictOutcome = Literal["pass", "fail", "baseline"]


@dataclass(frozen=True)
class Verdict:
    """The gate's recorded decision."""

    id: str
    candidate: str
    champion: str | None
    outcome: VerdictOutcome
    reasons: tuple[Reason, ...]
    smallest_visible_loss: float | None

    @property
    def may_release(self) -> bool:
        """Passed, or the dull baseline where nothing could be judged."""
        return self.outcome != "fail"


@dataclass(frozen=True)
class ReleaseResult:
    """What became of a candidate."""

    version: str
    scenario: str
    mode: Literal["first", "offline", "live"]
    outcome: Literal["promoted", "returned", "testing"]
    verdict: str
    note: str


@dataclass(frozen=True)
class RankedItem:
    """One place of a ranked answer."""

    product_id: str
    title: str
    score: float
    reasons: tuple[str, ...] = ()
    ad: "AdPlacement | None" = None


@dataclass(frozen=True)
class AdPlacement:
    """What an ad that is shown agreed to: a click, of chance ``click_chance``, costs ``price``."""

    ad_id: str
    campaign_id: str
    price: float
    click_chance: float


@dataclass(frozen=True)
class AuctionEntry:
    """An ad that might have been shown. It wins a place if its value is multiplied by more than ``ratio`` (0 if nobody else
    wants one) and is then expected to cost ``spend``."""

    campaign_id: str
    min_winning_multiplier: float
    expected_spend: float


@dataclass(frozen=True)
class Answer:
    """A ranked answer; ``total`` counts all that matched, ``offers`` are the ads that took part."""

    items: tuple[RankedItem, ...]
    total: int
    facets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    offers: tuple[AuctionEntry, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a shopper asks; ``user`` and ``session`` are pseudonyms. ``exclude_seen`` None leaves it to the recipe."""

    user: str | None = None
    session: str | None = None
    query: str = ""
    product_ids: tuple[str, ...] = ()
    placement: str = "home"
    filters: Mapping[str, Any] = field(default_factory=dict)
    facets: tuple[str, ...] = ()
    sort: str = ""
    offset: int = 0
    limit: int = 10
    personalise: bool = True
    exclude_seen: bool | None = None
    explain: bool = False


@dataclass(frozen=True)
class AudienceRequest:
    """Whom to tell: ``size`` users for a product, like those of a seed list, or of a segment; all are pseudonyms.

    ``told`` says how often users were told of something lately: each time halves their score. ``allowed`` narrows who may be
    told at all; None for everybody.
    """

    product_id: str | None = None
    size: int = 100
    seed_users: tuple[str, ...] = ()
    segment: str = ""
    contact_counts: Mapping[str, int] = field(default_factory=dict)
    eligible_users: frozenset[str] | None = None


@dataclass(frozen=True)
class AudienceMember:
    """One user of an audience, and why."""

    user: str
    score: float
    reason: str


@dataclass(frozen=True)
class Audience:
    """Users worth telling, best first; ``total`` counts all who might have been told."""

    members: tuple[AudienceMember, ...]
    total: int
