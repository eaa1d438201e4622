"""Layout of a shop's folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vetrina.bundle.bundles import BundleStore
from vetrina.bundle.object_storage import ObjectStorage
from vetrina.core import settings
from vetrina.core.files import make_private
from vetrina.core.keys import Keys, load, load_or_create
from vetrina.core.settings import Settings
from vetrina.store.database import holds_shop


@dataclass(frozen=True)
class ShopFolder:
    """Folder of a shop: it contains everything, except what ``[store]`` puts elsewhere."""

    root: Path

    @cached_property
    def settings(self) -> Settings:
        """Settings of ``vetrina.toml``, which may hold passwords."""
        file = self.root / "vetrina.toml"
        if file.exists():
            make_private(file)  # where it belongs to somebody else, its owner decides
        return settings.load(file)

    @cached_property
    def keys(self) -> Keys:
        """Secret keys of the shop, created on first use. Raises BadInput where the shop's data were made with others."""
        folder = self.root / "keys"
        if self._has_data() or (not folder.exists() and self._has_data_elsewhere()):
            return load(folder)
        return load_or_create(folder)

    def _has_data(self) -> bool:
        """Whether there is anything on disk that can be read with the shop's keys only."""
        has_bundles = any((self.root / "bundles").glob("*"))
        return has_bundles or (self.root / "store.db").exists() or self.has_lake

    def _has_data_elsewhere(self) -> bool:
        """Whether another machine has filled the store, so that this one is a replica whose keys were not copied."""
        url = self.settings.store.url
        return bool(url) and holds_shop(url)

    @property
    def has_lake(self) -> bool:
        """Whether anything was ever ingested on this disk."""
        return (self.lake / "parts.json").exists()

    @property
    def has_released(self) -> bool:
        """Whether a version may be served from here: from this disk, or from object storage, which is fetched from."""
        return bool(self.settings.store.bundles) or (self.root / "bundles").exists()

    @property
    def lake(self) -> Path:
        """Folder of the data lake."""
        return self.root / "lake"

    @property
    def snapshots(self) -> Path:
        """Folder of the snapshots."""
        return self.root / "snapshots"

    @cached_property
    def bundles(self) -> BundleStore:
        """Bundle store, on disk or in object storage."""
        url = self.settings.store.bundles
        remote = ObjectStorage(url) if url else None
        return BundleStore(self.root / "bundles", self.keys, remote)

    @property
    def work(self) -> Path:
        """Folder of checkpoints and caches; it may be deleted at any time."""
        return self.root / "work"

    @property
    def reports(self) -> Path:
        """Folder of the HTML reports."""
        return self.root / "reports"

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the SQL tables."""
        default_url = f"sqlite:///{self.root / 'store.db'}"
        return self.settings.store.url or default_url
