"""``vetrina.toml``: what a shop may set, with its default beside it."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core.errors import BadInput


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days at the end of the log held back; shortened when the log is shorter than ten times as long."""

    validation_days: float = 14.0
    holdout_days: float = 14.0


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Margins are relative to the champion's mean."""

    margin: float = 0.02
    slice_units: int = 200
    latency_ms: float = 100.0


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``refit = false`` serves the judged file."""

    refit: bool = True
    seed: int = 42
    max_epochs: int = 12


class Serving(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Loopback until told otherwise."""

    host: str = "127.0.0.1"
    port: int = 8337


class StoreUrl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An SQLAlchemy URL; empty means ``store.db`` in the shop folder."""

    url: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. ``columns`` maps a table to {design's name: the file's name}; ``weights`` an event type to its weight."""

    columns: dict[str, dict[str, str]] = {}
    weights: dict[str, float] = {}
    split: Split = Split()
    gate: Gate = Gate()
    train: Training = Training()
    serve: Serving = Serving()
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
