"""Where everything of one shop lies."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vetrina.core import settings
from vetrina.core.settings import Settings
from vetrina.security.keys import Keys, load_or_create
from vetrina.store.bundles import BundleStore
from vetrina.store.object_storage import ObjectStorage


@dataclass(frozen=True)
class ShopFolder:
    """A shop is a folder; nothing of it lies elsewhere unless ``[store] url`` says so."""

    root: Path

    @cached_property
    def settings(self) -> Settings:
        """``vetrina.toml``."""
        return settings.load(self.root / "vetrina.toml")

    @cached_property
    def keys(self) -> Keys:
        """The shop's secrets, made on first use."""
        return load_or_create(self.root / "keys")

    @property
    def lake(self) -> Path:
        """Normalised input files."""
        return self.root / "lake"

    @property
    def snapshots(self) -> Path:
        """Immutable data sets."""
        return self.root / "snapshots"

    @cached_property
    def bundles(self) -> BundleStore:
        """Signed manifests and their parts."""
        url = self.settings.store.bundles
        return BundleStore(self.root / "bundles", self.keys, ObjectStorage(url) if url else None)

    @property
    def work(self) -> Path:
        """Checkpoints and caches; may be removed at any time."""
        return self.root / "work"

    @property
    def reports(self) -> Path:
        """Pages a person looks at."""
        return self.root / "reports"

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the tables."""
        return self.settings.store.url or f"sqlite:///{self.root / 'store.db'}"
