"""``vetrina.toml``: what a shop may set, with its default beside it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core.errors import BadInput

OPTIMISERS = ("adam", "momentum", "sgd")
LOSSES = ("cross-entropy", "mse", "adversarial")
OUTCOMES = ("clicks", "conversion", "revenue")

# Names of settings in 0.1.0, by table, and what they are called now.
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
    """Days at the end of the log held back; shortened when the log is shorter than ten times as long."""

    validation_days: float = 14.0
    holdout_days: float = 14.0


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events that look like click fraud are stored; with ``exclude_click_fraud`` no model learns from them."""

    exclude_click_fraud: bool = True


class GateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Margins are relative to the champion's mean."""

    margin: float = 0.02
    min_slice_size: int = 200
    latency_ms: float = 100.0
    exposure_disparity_margin: float = (
        0.05  # how much more unevenly than the champion brands and price bands may be shown
    )


class TrainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``refit = false`` serves the judged file. With one of ``threads`` equal data give equal bytes.

    A ``warm`` run begins its networks where the shop's last run ended and needs a quarter of the epochs.
    """

    refit: bool = True
    seed: int = 42
    extra_models: tuple[str, ...] = ()  # models that recommend tries beside its own
    exclude_models: tuple[str, ...] = ()  # models that are not to be used
    budget_minutes: float = 20.0  # what a run may take; decides epochs and models before it starts
    threads: int = 2
    warm_start: bool = True
    optimiser: str = "adam"  # of OPTIMISERS, for networks of sequences and of predict
    loss: str = "cross-entropy"  # of LOSSES, for networks of predict; adversarial for those of sequences, too
    weight_events_by: str = (
        ""  # what an event counts by beside its type: revenue or margin of its product, for recommend
    )
    encoder: str = ""  # of texts: a folder or an id of huggingface.co; empty for the MiniLM that comes along
    warm_start_from: str = (
        ""  # a version: a warm run begins its networks where they were then; empty for the newest run
    )

    def __post_init__(self) -> None:
        if not self.budget_minutes > 0:
            raise ValueError(f"budget_minutes {self.budget_minutes} is no time at all")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser {self.optimiser!r} is none of {', '.join(OPTIMISERS)}")
        if self.weight_events_by not in ("", "revenue", "margin"):
            raise ValueError(f"weight_events_by {self.weight_events_by!r} is neither revenue nor margin")
        if self.loss not in LOSSES:
            raise ValueError(f"loss {self.loss!r} is none of {', '.join(LOSSES)}")
        if self.threads < 1:
            raise ValueError(f"threads {self.threads} is less than one")


class FineTuningSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a pretrained network learns on; what is not said is the model's own default."""

    trainable_layers: int | None = None  # that learn, from the top; -1 all weights, 0 none
    unfreeze_per_epoch: int | None = None  # further ones below that join with each epoch
    lora_rank: int | None = None  # of low-rank corrections that learn in place of the weights; 0 the weights
    patience: int | None = None  # epochs without a gain on held-out data after which it ends; 0 never

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
        """The values that are set, by name."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: float(value) for name, value in values.items() if value is not None}


class TransferSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the encoder of queries, and of the network of pictures."""

    text: FineTuningSettings = FineTuningSettings()
    image: FineTuningSettings = FineTuningSettings()

    def to_dict(self) -> dict[str, dict[str, float]]:
        """The settings of each model that has any."""
        settings = {"text": self.text.to_dict(), "image": self.image.to_dict()}
        return {name: values for name, values in settings.items() if values}


class PredictSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


class ServeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Loopback by default. ``exploration_rate`` is the share of answers whose places are drawn from twice as many products."""

    host: str = "127.0.0.1"
    port: int = 8337
    exploration_rate: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.exploration_rate <= 0.2:
            raise ValueError(f"exploration_rate {self.exploration_rate} is no share between 0 and 0.2")


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``url`` an SQLAlchemy URL, empty for ``store.db`` in the shop folder; ``bundles`` an fsspec URL such as s3://bucket/shop."""

    url: str = ""
    bundles: str = ""


class ReleaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a candidate reaches shoppers. Margins of clicks, conversion and revenue are relative, the others shares of answers."""

    steps: tuple[float, ...] = (0.01, 0.05, 0.2, 0.5)
    primary_metric: str = "clicks"
    alpha: float = 0.05
    cap_days: float = 14.0
    min_step_minutes: float = 60.0
    attribution_window_minutes: float = 60.0  # how long a unit has to act, from the first answer that it met in a step
    pre_period_days: float = 14.0
    candidate_timeout_ms: float = 250.0  # how long a request waits for a candidate before the champion answers it
    min_shadow_answers: int = 200
    interleaving_share: float = (
        0.05  # of shoppers, shown both versions in one list before the first step; 0 for no screen
    )
    interleaving_min_units: int = 100  # that prefer one of the two, and ...
    interleaving_max_hours: float = 24.0  # ... the longest that they are waited for
    min_step_units: int = 50
    min_units_per_arm: int = 200
    min_active_units_per_arm: int = 30
    margin_clicks: float = 0.02
    margin_conversion: float = 0.05
    margin_revenue: float = 0.05
    margin_errors: float = 0.001
    margin_slow: float = 0.005
    margin_interleaving: float = 0.03  # above one half, of units that prefer the champion

    def __post_init__(self) -> None:
        if self.primary_metric not in OUTCOMES:
            raise ValueError(f"primary_metric {self.primary_metric!r} is none of {', '.join(OUTCOMES)}")
        rising = [0.0, *self.steps]
        if not self.steps or self.steps[-1] > 0.5 or any(b <= a for a, b in zip(rising, self.steps, strict=False)):
            raise ValueError("steps are rising shares, the last one at most 0.5")
        if not 0.0 <= self.interleaving_share <= 0.5:
            raise ValueError(f"interleaving_share {self.interleaving_share} is no share between 0 and 0.5")

    def margin_of(self, outcome: str) -> float:
        """The relative loss of an outcome that is allowed."""
        return {"clicks": self.margin_clicks, "conversion": self.margin_conversion}.get(outcome, self.margin_revenue)


class OperateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The loop that needs nobody."""

    release_check_seconds: float = 10.0  # between two looks at a release among shoppers
    check_interval_minutes: float = 15.0
    retrain_cooldown_hours: float = 24.0  # between two runs of a scenario that nobody asked for
    run_timeout_minutes: float = 240.0  # a run that takes longer is stopped
    memory_limit_mb: float = (
        0.0  # a run that takes more goes on in smaller pieces; 0: nine tenths of what the machine has
    )
    start_between: tuple[float, float] = (0.0, 24.0)  # hours of the local day in which runs that nobody asked for begin
    watts: float = 3.5  # of a busy core, for the estimate of energy: Cloud Carbon Footprint's figure for AWS

    def __post_init__(self) -> None:
        if not all(0.0 <= hour <= 24.0 for hour in self.start_between):
            raise ValueError(f"start_between {list(self.start_between)} are no hours of a day, 0 to 24")
        if self.memory_limit_mb < 0:
            raise ValueError(f"memory_limit_mb {self.memory_limit_mb} is less than nothing; 0 leaves it to Vetrina")

    keep_versions: int = 5  # of each scenario, beside what serves and what served before it


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where alerts go beside the log: Apprise URLs (mailto://, json://, slack://, ...).

    The same alert is sent at most once per ``repeat_interval_hours``.
    """

    urls: tuple[str, ...] = ()
    repeat_interval_hours: float = 6.0


_MAX_COLD_START_SHARE = 0.5
_WEIGHTED_GOALS = ("revenue", "margin", "retention_7", "retention_28")


class GoalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What recommendations lean to beside what shoppers want: 0 not at all, 1 as strongly as the worth itself differs.

    ``retention_7`` and ``retention_28``: users who come back within so many days. ``cold_start_share`` is the share of
    places that products get which nobody has taken yet.
    """

    revenue: float = 0.0
    margin: float = 0.0
    retention_7: float = 0.0
    retention_28: float = 0.0
    cold_start_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.cold_start_share <= _MAX_COLD_START_SHARE:
            raise ValueError(
                f"cold_start_share {self.cold_start_share} is no share between 0 and {_MAX_COLD_START_SHARE:g}"
            )
        for name in _WEIGHTED_GOALS:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} is no weight between 0 and 1")

    def to_dict(self) -> dict[str, float]:
        """Those that weigh something."""
        return {
            name: weight for name in (*_WEIGHTED_GOALS, "cold_start_share") if (weight := float(getattr(self, name)))
        }


class ChannelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What messages to people need: ``product_url`` with {product_id} in it, the push service's app, the shop's currency."""

    product_url: str = ""
    push_app: str = ""
    push_heading: str = "New in the shop"
    currency: str = "EUR"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. ``columns`` maps a table to {design's name: the file's name}; ``weights`` an event type to its weight."""

    columns: dict[str, dict[str, str]] = {}
    weights: dict[str, float] = {}
    split: SplitSettings = SplitSettings()
    ingest: IngestSettings = IngestSettings()
    gate: GateSettings = GateSettings()
    release: ReleaseSettings = ReleaseSettings()
    train: TrainSettings = TrainSettings()
    transfer: TransferSettings = TransferSettings()
    predict: PredictSettings = PredictSettings()
    serve: ServeSettings = ServeSettings()
    operate: OperateSettings = OperateSettings()
    alerts: AlertSettings = AlertSettings()
    channels: ChannelSettings = ChannelSettings()
    goals: GoalSettings = GoalSettings()
    store: StoreSettings = StoreSettings()


def load(path: Path) -> Settings:
    """Read ``path``; a missing file means the defaults. Raises BadInput naming the wrong entry."""
    if not path.exists():
        return Settings()
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        _refuse_old_names(path, raw)
        return msgspec.convert(raw, Settings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadInput(str(path), str(error), "correct that entry; docs/reference/settings.md lists all") from None


def with_current_names(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of one table that an earlier version stored, under the names of this version."""
    new_names = RENAMED.get(table, {})
    return {new_names.get(name, name): value for name, value in values.items()}


def _refuse_old_names(path: Path, raw: Mapping[str, Any]) -> None:
    for table, new_names in RENAMED.items():
        values: Any = raw
        for part in table.split("."):
            values = values.get(part, {}) if isinstance(values, dict) else {}
        for name in values:
            if name in new_names:
                raise BadInput(f"{path}: [{table}] {name}", "has a new name", f"write {new_names[name]} instead")
