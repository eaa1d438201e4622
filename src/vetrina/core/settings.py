"""``vetrina.toml``: what a shop may set, with its default beside it."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core.errors import BadInput

OPTIMISERS, LOSSES = ("adam", "momentum", "sgd"), ("cross-entropy", "mse", "adversarial")
OUTCOMES = ("clicks", "conversion", "revenue")


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days at the end of the log held back; shortened when the log is shorter than ten times as long."""

    validation_days: float = 14.0
    holdout_days: float = 14.0


class Ingestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``doubt``: events that look made up to push a product are kept, but not learnt from."""

    doubt: bool = True


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Margins are relative to the champion's mean."""

    margin: float = 0.02
    slice_units: int = 200
    latency_ms: float = 100.0
    unfairness: float = 0.05  # how much more unevenly than the champion brands and price bands may be shown


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``refit = false`` serves the judged file. With one of ``threads`` equal data give equal bytes.

    A ``warm`` run begins its networks where the shop's last run ended and needs a quarter of the epochs.
    """

    refit: bool = True
    seed: int = 42
    also: tuple[str, ...] = ()  # models that recommend tries beside its own
    without: tuple[str, ...] = ()  # models that are not to be used
    budget_minutes: float = 20.0  # what a run may take; decides epochs and models before it starts
    threads: int = 2
    warm: bool = True
    optimiser: str = "adam"  # of OPTIMISERS, for networks of sequences and of predict
    loss: str = "cross-entropy"  # of LOSSES, for networks of predict; adversarial for those of sequences, too
    worth: str = ""  # what an event counts by beside its type: revenue or margin of its product, for recommend
    encoder: str = ""  # of texts: a folder or an id of huggingface.co; empty for the MiniLM that comes along
    begin: str = ""  # a version: a warm run begins its networks where they were then; empty for the newest run

    def __post_init__(self) -> None:
        if not self.budget_minutes > 0:
            raise ValueError(f"budget_minutes {self.budget_minutes} is no time at all")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser {self.optimiser!r} is none of {', '.join(OPTIMISERS)}")
        if self.worth not in ("", "revenue", "margin"):
            raise ValueError(f"worth {self.worth!r} is neither revenue nor margin")
        if self.loss not in LOSSES:
            raise ValueError(f"loss {self.loss!r} is none of {', '.join(LOSSES)}")
        if self.threads < 1:
            raise ValueError(f"threads {self.threads} is less than one")


class Transfer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a pretrained network learns on; what is not said is the model's own default."""

    layers: int | None = None  # that learn, from the top; -1 all weights, 0 none
    thaw: int | None = None  # further ones below that join with each epoch
    rank: int | None = None  # of low-rank corrections that learn in place of the weights; 0 the weights
    patience: int | None = None  # epochs without a gain on held-out data after which it ends; 0 never

    def __post_init__(self) -> None:
        if self.layers == 0 and self.thaw:
            raise ValueError(
                f"layers 0 leaves nothing to learn in the first epoch; with thaw {self.thaw} begin with one at least"
            )
        for name, value in self.of().items():
            if value < (-1 if name == "layers" else 0):
                raise ValueError(
                    f"{name} {value:g} is less than {'-1, which is all' if name == 'layers' else 'nothing'}"
                )

    def of(self) -> dict[str, float]:
        """What is said."""
        return {name: float(value) for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


class Transfers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the encoder of queries, and of the network of pictures."""

    text: Transfer = Transfer()
    image: Transfer = Transfer()

    def of(self) -> dict[str, dict[str, float]]:
        """By model, where anything is said."""
        return {name: said for name in self.__struct_fields__ if (said := getattr(self, name).of())}


class Prediction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the threshold is for: empty for 0.5, ``accuracy``, ``f1``, or ``precision 0.9`` / ``recall 0.9``: at least so much."""

    goal: str = ""
    onnx: str = ""  # the file of a model brought along, in the shop's folder or anywhere
    onnx_inputs: tuple[str, ...] = ()  # the columns of its one matrix; empty: its inputs are named like columns

    def __post_init__(self) -> None:
        name, _, least = self.goal.partition(" ")
        if self.goal not in ("", "accuracy", "f1") and not (name in ("precision", "recall") and _is_share(least)):
            raise ValueError(f"goal {self.goal!r} is none of accuracy, f1, 'precision 0.9', 'recall 0.9'")


def _is_share(text: str) -> bool:
    try:
        return 0.0 < float(text) <= 1.0
    except ValueError:
        return False


class Serving(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Loopback until told otherwise. ``explore`` is the share of answers whose places are drawn from twice as many products."""

    host: str = "127.0.0.1"
    port: int = 8337
    explore: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.explore <= 0.2:
            raise ValueError(f"explore {self.explore} is no share between 0 and 0.2")


class StoreUrl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``url`` an SQLAlchemy URL, empty for ``store.db`` in the shop folder; ``bundles`` an fsspec URL such as s3://bucket/shop."""

    url: str = ""
    bundles: str = ""


class Releases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a candidate reaches shoppers. Margins of clicks, conversion and revenue are relative, the others shares of answers."""

    steps: tuple[float, ...] = (0.01, 0.05, 0.2, 0.5)
    primary: str = "clicks"
    alpha: float = 0.05
    cap_days: float = 14.0
    step_minutes: float = 60.0
    outcome_minutes: float = 60.0  # how long a unit has to act, from the first answer that it met in a step
    before_days: float = 14.0
    timeout_ms: float = 250.0  # how long a request waits for a candidate before the champion answers it
    shadow_answers: int = 200
    screen: float = 0.05  # of shoppers, shown both versions in one list before the first step; 0 for no screen
    screen_units: int = 100  # that prefer one of the two, and ...
    screen_hours: float = 24.0  # ... the longest that they are waited for
    step_units: int = 50
    least_units: int = 200
    least_active: int = 30
    margin_clicks: float = 0.02
    margin_conversion: float = 0.05
    margin_revenue: float = 0.05
    margin_faults: float = 0.001
    margin_slow: float = 0.005
    margin_screen: float = 0.03  # above one half, of units that prefer the champion

    def __post_init__(self) -> None:
        if self.primary not in OUTCOMES:
            raise ValueError(f"primary {self.primary!r} is none of {', '.join(OUTCOMES)}")
        rising = [0.0, *self.steps]
        if not self.steps or self.steps[-1] > 0.5 or any(b <= a for a, b in zip(rising, self.steps, strict=False)):
            raise ValueError("steps are rising shares, the last one at most 0.5")
        if not 0.0 <= self.screen <= 0.5:
            raise ValueError(f"screen {self.screen} is no share between 0 and 0.5")

    def margin(self, outcome: str) -> float:
        """The relative loss of an outcome that is allowed."""
        return {"clicks": self.margin_clicks, "conversion": self.margin_conversion}.get(outcome, self.margin_revenue)


class Operate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The loop that needs nobody."""

    release_seconds: float = 10.0  # between two looks at a release among shoppers
    look_minutes: float = 15.0
    rest_hours: float = 24.0  # between two runs of a scenario that nobody asked for
    budget_minutes: float = 240.0  # a run that takes longer is stopped
    memory_mb: float = 0.0  # a run that takes more goes on in smaller pieces; 0: nine tenths of what the machine has
    start_between: tuple[float, float] = (0.0, 24.0)  # hours of the local day in which runs that nobody asked for begin
    watts: float = 3.5  # of a busy core, for the estimate of energy: Cloud Carbon Footprint's figure for AWS

    def __post_init__(self) -> None:
        if not all(0.0 <= hour <= 24.0 for hour in self.start_between):
            raise ValueError(f"start_between {list(self.start_between)} are no hours of a day, 0 to 24")
        if self.memory_mb < 0:
            raise ValueError(f"memory_mb {self.memory_mb} is less than nothing; 0 leaves it to Vetrina")

    keep_versions: int = 5  # of each scenario, beside what serves and what served before it


class Alerts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where alerts go beside the log: Apprise URLs (mailto://, json://, slack://, ...), each alert once in ``quiet_hours``."""

    urls: tuple[str, ...] = ()
    quiet_hours: float = 6.0


_MOST_NEWCOMERS = 0.5
_LEANED_TO = ("revenue", "margin", "retention_7", "retention_28")


class Goals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What recommendations lean to beside what shoppers want: 0 not at all, 1 as strongly as the worth itself differs.

    ``retention_7`` and ``retention_28``: users who come back within so many days. ``newcomers`` is the share of places that
    products get which nobody has taken yet.
    """

    revenue: float = 0.0
    margin: float = 0.0
    retention_7: float = 0.0
    retention_28: float = 0.0
    newcomers: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.newcomers <= _MOST_NEWCOMERS:
            raise ValueError(f"newcomers {self.newcomers} is no share between 0 and {_MOST_NEWCOMERS:g}")
        for name in _LEANED_TO:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} is no weight between 0 and 1")

    def of(self) -> dict[str, float]:
        """Those that weigh something."""
        return {name: weight for name in (*_LEANED_TO, "newcomers") if (weight := float(getattr(self, name)))}


class Channels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What messages to people need: ``product_url`` with {product_id} in it, the push service's app, the shop's currency."""

    product_url: str = ""
    push_app: str = ""
    push_heading: str = "New in the shop"
    currency: str = "EUR"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. ``columns`` maps a table to {design's name: the file's name}; ``weights`` an event type to its weight."""

    columns: dict[str, dict[str, str]] = {}
    weights: dict[str, float] = {}
    split: Split = Split()
    ingest: Ingestion = Ingestion()
    gate: Gate = Gate()
    release: Releases = Releases()
    train: Training = Training()
    transfer: Transfers = Transfers()
    predict: Prediction = Prediction()
    serve: Serving = Serving()
    operate: Operate = Operate()
    alerts: Alerts = Alerts()
    channels: Channels = Channels()
    goals: Goals = Goals()
    store: StoreUrl = StoreUrl()


def load(path: Path) -> Settings:
    """Read ``path``; a missing file means the defaults. Raises BadInput naming the wrong entry."""
    if not path.exists():
        return Settings()
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        return msgspec.convert(raw, Settings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadInput(str(path), str(error), "correct that entry; docs/reference/settings.md lists all") from None
