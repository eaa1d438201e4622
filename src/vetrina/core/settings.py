"""Settings of ``vetrina.toml`` and their defaults."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec

from vetrina.core.errors import BadInput

OPTIMISERS = ("adam", "momentum", "sgd")
LOSSES = ("cross-entropy", "mse", "adversarial")
ENGINES = ("local", "ray")
DEVICES = ("auto", "cpu", "cuda")
OUTCOMES = ("clicks", "conversion", "revenue")
LOG_FORMATS = ("text", "json")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")
_AGE_RECIPIENT = re.compile(r"age1[a-z0-9]{58}")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")

# Renamed settings, by table: their names in 0.1.0 and today.
_RENAMED_FINE_TUNING = {"layers": "trainable_layers", "thaw": "unfreeze_per_epoch", "rank": "lora_rank"}
RENAMED: Mapping[str, Mapping[str, str]] = {
    "ingest": {"doubt": "exclude_click_fraud"},
    "gate": {"unfairness": "exposure_disparity_margin", "slice_units": "min_slice_size"},
    "train": {
        "also": "extra_models",
        "without": "exclude_models",
        "warm": "warm_start",
        "worth": "weight_events_by",
        "begin": "warm_start_from",
    },
    "transfer.text": _RENAMED_FINE_TUNING,
    "transfer.image": _RENAMED_FINE_TUNING,
    "serve": {"explore": "exploration_rate"},
    "release": {
        "primary": "primary_metric",
        "step_minutes": "min_step_minutes",
        "step_units": "min_step_units",
        "outcome_minutes": "attribution_window_minutes",
        "before_days": "pre_period_days",
        "shadow_answers": "min_shadow_answers",
        "screen": "interleaving_share",
        "screen_units": "interleaving_min_units",
        "screen_hours": "interleaving_max_hours",
        "margin_screen": "margin_interleaving",
        "least_units": "min_units_per_arm",
        "least_active": "min_active_units_per_arm",
        "margin_faults": "margin_errors",
        "timeout_ms": "candidate_timeout_ms",
    },
    "operate": {
        "release_seconds": "release_check_seconds",
        "look_minutes": "check_interval_minutes",
        "rest_hours": "retrain_cooldown_hours",
        "budget_minutes": "run_timeout_minutes",
        "memory_mb": "memory_limit_mb",
    },
    "alerts": {"quiet_hours": "repeat_interval_hours"},
    "goals": {"newcomers": "cold_start_share"},
}


class SplitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days at the end of the log for validation and hold-out data; shortened if the log is less than ten times as long."""

    validation_days: float = 14.0
    holdout_days: float = 14.0


# A name or an address: no scheme, port, path or user.
ImageHost = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+)$", max_length=253)]


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ingestion. Suspected click fraud is always stored; ``exclude_click_fraud`` excludes it from training."""

    exclude_click_fraud: bool = True
    # Hosts in the shop's own network that images may be downloaded from, as URLs name them: without scheme and port.
    image_hosts: Annotated[tuple[ImageHost, ...], msgspec.Meta(max_length=32)] = ()


class GateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the gate. Margins are relative to the champion's mean."""

    # Loss of quality that still counts as non-inferior.
    margin: float = 0.02
    # Users, queries or rows that a slice must have to be evaluated.
    min_slice_size: int = 200
    # Largest 99th percentile of the latency of an answer.
    latency_ms: float = 100.0
    # By how much the exposure disparity of brands and price bands may exceed the champion's.
    exposure_disparity_margin: float = 0.05


class TrainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Training."""

    # True trains once more on all data after the gate; false serves the judged file.
    refit: bool = True
    seed: int = 42
    # Models that recommend tries in addition to its own.
    extra_models: tuple[str, ...] = ()
    # Models that are not trained.
    exclude_models: tuple[str, ...] = ()
    # Wall time of a run: decides, before it starts, which models are trained and for how many epochs.
    budget_minutes: float = 20.0
    # With one thread, equal data give a bundle that is equal to the byte.
    threads: int = 2
    # Initialises networks from the shop's last run, which needs a quarter of the epochs.
    warm_start: bool = True
    # One of OPTIMISERS, for sequence networks and networks of predict.
    optimiser: str = "adam"
    # One of LOSSES, for networks of predict; "adversarial" applies to sequence networks, too.
    loss: str = "cross-entropy"
    # Factor of an event's weight beside its type, for recommend: "revenue" or "margin" of its product; empty for none.
    weight_events_by: str = ""
    # Pretrained text encoder: a folder or an id of huggingface.co; empty for the MiniLM of the package.
    encoder: str = ""
    # Version whose networks a warm start is initialised from; empty for the newest run.
    warm_start_from: str = ""
    # One of ENGINES: this process, or processes of a Ray cluster.
    engine: str = "local"
    # Processes of the engine ray that train one network, each with ``threads`` threads.
    workers: int = 2
    # HOST:PORT of a Ray cluster; empty for the variable RAY_ADDRESS, or for a cluster on this machine while the run lasts.
    ray_address: str = ""
    # One of DEVICES for networks: "auto" takes a GPU where there is one and threads is more than one.
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.budget_minutes > 0:
            raise ValueError(f"budget_minutes {self.budget_minutes} is not positive")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser {self.optimiser!r} is none of {', '.join(OPTIMISERS)}")
        if self.weight_events_by not in ("", "revenue", "margin"):
            raise ValueError(f"weight_events_by {self.weight_events_by!r} is neither revenue nor margin")
        if self.loss not in LOSSES:
            raise ValueError(f"loss {self.loss!r} is none of {', '.join(LOSSES)}")
        if self.threads < 1:
            raise ValueError(f"threads {self.threads} is less than one")
        if self.engine not in ENGINES:
            raise ValueError(f"engine {self.engine!r} is none of {', '.join(ENGINES)}")
        if self.workers < 1:
            raise ValueError(f"workers {self.workers} is less than one")
        if self.device not in DEVICES:
            raise ValueError(f"device {self.device!r} is none of {', '.join(DEVICES)}")


class FineTuningSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fine-tuning of a pretrained network; None leaves a value to the model's own default."""

    # Layers that are trained, counted from the output; -1 for all weights, 0 for none.
    trainable_layers: int | None = None
    # Further layers that become trainable with each epoch.
    unfreeze_per_epoch: int | None = None
    # Rank of the low-rank adapters (LoRA) that are trained in place of the weights; 0 trains the weights.
    lora_rank: int | None = None
    # Epochs without improvement on validation data after which training stops; 0 never stops early.
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.trainable_layers == 0 and self.unfreeze_per_epoch:
            raise ValueError(
                "trainable_layers 0 leaves nothing to train in the first epoch; "
                f"with unfreeze_per_epoch {self.unfreeze_per_epoch} begin with at least one"
            )
        for name, value in self.to_dict().items():
            if name == "trainable_layers" and value < -1:
                raise ValueError(f"trainable_layers {value:g} is less than -1, which means all layers")
            if name != "trainable_layers" and value < 0:
                raise ValueError(f"{name} {value:g} is less than 0")

    def to_dict(self) -> dict[str, float]:
        """Values that are set, by name."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: float(value) for name, value in values.items() if value is not None}


class TransferSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fine-tuning of the query encoder and of the image network."""

    text: FineTuningSettings = FineTuningSettings()
    image: FineTuningSettings = FineTuningSettings()

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Fine-tuning settings by model; models without any are left out."""
        settings = {"text": self.text.to_dict(), "image": self.image.to_dict()}
        return {name: values for name, values in settings.items() if values}


class PredictSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Predictions from a labelled table."""

    # Criterion of the decision threshold: "accuracy", "f1", "precision 0.9" or "recall 0.9" (at least so much); empty for 0.5.
    goal: str = ""
    # ONNX file of an external model; a relative path starts at the shop's folder.
    onnx: str = ""
    # Columns of the external model's only input matrix; empty if it has one input per column.
    onnx_inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _is_threshold_criterion(self.goal):
            raise ValueError(f"goal {self.goal!r} is none of accuracy, f1, 'precision 0.9', 'recall 0.9'")


def _is_threshold_criterion(goal: str) -> bool:
    if goal in ("", "accuracy", "f1"):
        return True
    metric, _, minimum = goal.partition(" ")
    return metric in ("precision", "recall") and _is_share(minimum)


def _is_share(text: str) -> bool:
    try:
        return 0.0 < float(text) <= 1.0
    except ValueError:
        return False


class ServeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP service."""

    # Loopback: the service is not reachable from other machines by default.
    host: str = "127.0.0.1"
    port: int = 8337
    # Share of answers whose positions are sampled from twice as many products.
    exploration_rate: float = 0.0
    # Names by which clients may call the service, beside IP addresses, which always pass.
    hosts: tuple[str, ...] = ("localhost",)
    # Origins such as https://shop.example whose pages may call the service from a browser (CORS); none by default.
    origins: tuple[str, ...] = ()
    # Reverse proxies, as networks (10.0.0.0/8) or addresses: only their X-Forwarded-For counts.
    trusted_proxies: tuple[str, ...] = ()
    # Certificate with its chain and private key, in PEM form, for TLS without a proxy; relative paths start at the shop's folder.
    tls_cert: str = ""
    tls_key: str = ""

    def __post_init__(self) -> None:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key belong together: set both, or neither for HTTP")
        if not 0.0 <= self.exploration_rate <= 0.2:
            raise ValueError(f"exploration_rate {self.exploration_rate} is no share between 0 and 0.2")
        for host in self.hosts:
            if not _HOST_NAME.fullmatch(host):
                raise ValueError(f"hosts {host!r} is no host name such as shop.example, without scheme and port")
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"origins {origin!r} is no origin such as https://shop.example, without a path")
        self.trusted_networks()

    def trusted_networks(self) -> Sequence[IPv4Network | IPv6Network]:
        """The networks of ``trusted_proxies``. Raises ValueError where one is neither a network nor an address."""
        networks: list[IPv4Network | IPv6Network] = []
        for proxy in self.trusted_proxies:
            try:
                networks.append(ip_network(proxy))
            except ValueError:
                raise ValueError(
                    f"trusted_proxies {proxy!r} is no network such as 10.0.0.0/8, nor an address"
                ) from None
        return networks


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The log of serve, up and operate, on standard error."""

    # One of LOG_FORMATS: plain lines for a terminal, or JSON lines in the Elastic Common Schema for a collector of logs.
    format: str = "text"

    def __post_init__(self) -> None:
        if self.format not in LOG_FORMATS:
            raise ValueError(f"format {self.format!r} is none of {', '.join(LOG_FORMATS)}")


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the tables and the bundles of a shop are stored."""

    # SQLAlchemy URL; empty for ``store.db`` in the shop's folder.
    url: str = ""
    # fsspec URL such as s3://bucket/shop; empty for the shop's folder.
    bundles: str = ""


class ReleaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Canary of a candidate, and watch of a promoted version. A unit is a user, or the session of an anonymous visitor."""

    # Share of units that the candidate answers in each step of the canary.
    steps: tuple[float, ...] = (0.01, 0.05, 0.2, 0.5)
    # One of OUTCOMES.
    primary_metric: str = "clicks"
    # Error probability of the sequential tests.
    alpha: float = 0.05
    # Longest duration of a canary or a watch.
    cap_days: float = 14.0
    # Share of units that the version before still answers during a watch; 0 for no watch.
    holdback_share: float = 0.1
    # Shortest duration of a step.
    min_step_minutes: float = 60.0
    # How long a unit's outcomes count, from its first answer in a step.
    attribution_window_minutes: float = 60.0
    # Length of the period before the rollout that expected outcomes are computed from.
    pre_period_days: float = 14.0
    # How long a request waits for the candidate before the champion answers it.
    candidate_timeout_ms: float = 250.0
    # Answers that the candidate must compute in shadow mode before users see any.
    min_shadow_answers: int = 200
    # Share of units that see both versions in one interleaved list before the first step; 0 for no interleaving.
    interleaving_share: float = 0.05
    # Units with a preference that interleaving waits for.
    interleaving_min_units: int = 100
    # Longest duration of interleaving.
    interleaving_max_hours: float = 24.0
    # Units that the candidate must have answered before the next step.
    min_step_units: int = 50
    # Units of each arm that a decision needs, and those of them with an outcome.
    min_units_per_arm: int = 200
    min_active_units_per_arm: int = 30
    # Relative losses of an outcome that still count as non-inferior.
    margin_clicks: float = 0.02
    margin_conversion: float = 0.05
    margin_revenue: float = 0.05
    # By how much the shares of failed and of slow answers may exceed the champion's.
    margin_errors: float = 0.001
    margin_slow: float = 0.005
    # By how much the champion's win rate in interleaving may exceed one half.
    margin_interleaving: float = 0.03

    def __post_init__(self) -> None:
        if self.primary_metric not in OUTCOMES:
            raise ValueError(f"primary_metric {self.primary_metric!r} is none of {', '.join(OUTCOMES)}")
        if not self._has_increasing_steps():
            raise ValueError("steps are not increasing shares, the last one at most 0.5")
        if not 0.0 <= self.interleaving_share <= 0.5:
            raise ValueError(f"interleaving_share {self.interleaving_share} is no share between 0 and 0.5")
        if not 0.0 <= self.holdback_share <= 0.5:
            raise ValueError(f"holdback_share {self.holdback_share} is no share between 0 and 0.5")

    def _has_increasing_steps(self) -> bool:
        if not self.steps or self.steps[-1] > 0.5:
            return False
        previous_steps = (0.0, *self.steps[:-1])
        return all(step > previous for previous, step in zip(previous_steps, self.steps, strict=True))

    def margin_of(self, outcome: str) -> float:
        """Allowed relative loss of one of OUTCOMES."""
        if outcome == "clicks":
            return self.margin_clicks
        if outcome == "conversion":
            return self.margin_conversion
        return self.margin_revenue


class OperateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The controller: releases, retraining, clean-up and alerts."""

    # Interval between two checks of a rollout.
    release_check_seconds: float = 10.0
    # Interval between two health checks.
    check_interval_minutes: float = 15.0
    # Shortest interval between two scheduled runs of a scenario.
    retrain_cooldown_hours: float = 24.0
    # A run that takes longer is stopped.
    run_timeout_minutes: float = 240.0
    # A run that needs more memory resumes with smaller chunks; 0 for nine tenths of the machine's memory.
    memory_limit_mb: float = 0.0
    # Hours of the local day in which scheduled runs start.
    start_between: tuple[float, float] = (0.0, 24.0)
    # Power of a busy core, for the estimate of energy: Cloud Carbon Footprint's figure for AWS.
    watts: float = 3.5
    # What an hour of one busy core costs, in any currency, for the price of answers; 0 leaves prices out.
    price_per_cpu_hour: float = 0.0

    def __post_init__(self) -> None:
        if not all(0.0 <= hour <= 24.0 for hour in self.start_between):
            raise ValueError(f"start_between {list(self.start_between)} are not hours of a day, 0 to 24")
        if self.memory_limit_mb < 0:
            raise ValueError(f"memory_limit_mb {self.memory_limit_mb} is negative; 0 leaves the choice to Vetrina")
        if self.price_per_cpu_hour < 0:
            raise ValueError(f"price_per_cpu_hour {self.price_per_cpu_hour} is negative; 0 leaves prices out")

    # Bundles that are kept of each scenario, in addition to the champion and the previous champion.
    keep_versions: int = 5


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Delivery of alerts, in addition to the log."""

    # Apprise URLs (mailto://, json://, slack://, ...).
    urls: tuple[str, ...] = ()
    # The same alert is sent at most once within this time.
    repeat_interval_hours: float = 6.0


_MAX_DAYS_KEPT = 36_500.0
_MIN_LAKE_DAYS = 28.0  # less is hardly anything to train on


class KeepSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long data are kept, in days from their arrival."""

    # Events in the store, which are only deleted once they lie in the lake; never less than the periods that a release reads.
    events_days: float = 760.0
    # Logged answers with their requests and queries; never less than the periods that a release reads.
    answers_days: float = 90.0
    # Quarantined rows.
    quarantine_days: float = 30.0
    # Events in the lake, which all training data come from; 0 keeps them for ever.
    lake_days: float = 0.0

    def __post_init__(self) -> None:
        for name in ("events_days", "answers_days", "quarantine_days"):
            days = getattr(self, name)
            if not 1.0 <= days <= _MAX_DAYS_KEPT:
                raise ValueError(f"{name} {days:g} is not between 1 and {_MAX_DAYS_KEPT:g}")
        if self.lake_days and not _MIN_LAKE_DAYS <= self.lake_days <= _MAX_DAYS_KEPT:
            raise ValueError(
                f"lake_days {self.lake_days:g} is neither 0 nor between {_MIN_LAKE_DAYS:g} and {_MAX_DAYS_KEPT:g}"
            )


class BackupSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Backups of the shop. With a folder and a key the controller makes one a day."""

    # Folder that backups are written to if the command names none; a relative path starts at the shop's folder.
    to: str = ""
    # Public key of age that backups are encrypted to: the line that ``vetrina backup-key`` prints.
    recipient: str = ""
    # Newest backups in the folder that the controller leaves there; 0 leaves all of them.
    keep: int = 7

    def __post_init__(self) -> None:
        if self.keep < 0:
            raise ValueError(f"keep {self.keep} is negative; 0 keeps all backups")
        if self.recipient and not _AGE_RECIPIENT.fullmatch(self.recipient):
            raise ValueError(f"recipient {self.recipient!r} is no public key of age, which begins with age1")


_MAX_COLD_START_SHARE = 0.5  # of the positions of an answer
_WEIGHTED_GOALS = ("revenue", "margin", "retention_7", "retention_28")


class GoalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Business objectives by which recommendations are re-ranked: 0 for no weight, 1 for weighting by the business value."""

    revenue: float = 0.0
    margin: float = 0.0
    # Share of a product's users who return within 7 and within 28 days.
    retention_7: float = 0.0
    retention_28: float = 0.0
    # Share of positions that are reserved for cold-start items.
    cold_start_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.cold_start_share <= _MAX_COLD_START_SHARE:
            raise ValueError(
                f"cold_start_share {self.cold_start_share} is no share between 0 and {_MAX_COLD_START_SHARE:g}"
            )
        for name in _WEIGHTED_GOALS:
            weight = getattr(self, name)
            if not 0.0 <= weight <= 1.0:
                raise ValueError(f"{name} {weight} is not between 0 and 1")

    def to_dict(self) -> dict[str, float]:
        """Goals with a weight other than 0, by name."""
        names = (*_WEIGHTED_GOALS, "cold_start_share")
        weights = {name: float(getattr(self, name)) for name in names}
        return {name: weight for name, weight in weights.items() if weight}


class ChannelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Messages to users."""

    # URL of a product page, with {product_id} in it.
    product_url: str = ""
    # App id at the push service.
    push_app: str = ""
    push_heading: str = "New in the shop"
    currency: str = "EUR"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a shop."""

    # Column mapping by table: names of ``core.columns`` to names in the shop's files.
    columns: dict[str, dict[str, str]] = {}
    # Weights by event type, in addition to or in place of the default weights.
    weights: dict[str, float] = {}
    split: SplitSettings = SplitSettings()
    ingest: IngestSettings = IngestSettings()
    gate: GateSettings = GateSettings()
    release: ReleaseSettings = ReleaseSettings()
    train: TrainSettings = TrainSettings()
    transfer: TransferSettings = TransferSettings()
    predict: PredictSettings = PredictSettings()
    serve: ServeSettings = ServeSettings()
    log: LogSettings = LogSettings()
    operate: OperateSettings = OperateSettings()
    alerts: AlertSettings = AlertSettings()
    channels: ChannelSettings = ChannelSettings()
    goals: GoalSettings = GoalSettings()
    store: StoreSettings = StoreSettings()
    keep: KeepSettings = KeepSettings()
    backup: BackupSettings = BackupSettings()


def load(path: Path) -> Settings:
    """Settings of the file ``path``; the defaults if it does not exist. Raises BadInput with the wrong entry."""
    if not path.exists():
        return Settings()
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        _refuse_old_names(path, raw)
        return msgspec.convert(raw, Settings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadInput(str(path), str(error), "correct that entry; docs/reference/settings.md lists all") from None


def with_current_names(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of one table that an earlier version stored, under their names of today."""
    new_names = RENAMED.get(table, {})
    return {new_names.get(name, name): value for name, value in values.items()}


def _refuse_old_names(path: Path, raw: Mapping[str, Any]) -> None:
    for table, new_names in RENAMED.items():
        for name in _table_of(raw, table):
            if name in new_names:
                raise BadInput(f"{path}: [{table}] {name}", "has a new name", f"write {new_names[name]} instead")


def _table_of(raw: Mapping[str, Any], table: str) -> Mapping[str, Any]:
    """The entries of a table such as ``transfer.text``, empty if it is missing."""
    entries = raw
    for part in table.split("."):
        value = entries.get(part)
        if not isinstance(value, Mapping):
            return {}
        entries = cast(Mapping[str, Any], value)
    return entries
