"""Input files and snapshots of a shop's data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


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
