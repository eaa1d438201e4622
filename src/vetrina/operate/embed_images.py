"""Image embedding of products that arrived over HTTP, in the controller's background.

The product log is read for products that the serving version has no image vector of. Their images are read as ingest and training
read them, embedded by that version's own network, and the vectors appended to the log.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.core import clock
from vetrina.core.errors import OtherFormat
from vetrina.core.image_vector import ImageVector
from vetrina.data.images import download_images, read_image_file, resolve_reference
from vetrina.models.image import online
from vetrina.models.image.decode import Pixels, decode_images
from vetrina.models.image.embed import Embedder
from vetrina.pipeline.shop_context import ShopContext
from vetrina.scenarios.base import find_scenario, scenario_names
from vetrina.serve.live_state import StoredChanges
from vetrina.store import products

_IMAGE_MODEL = "image"  # versions with this model know images
_BATCH = 32  # images of a turn
_TRIES = 3  # to find the file behind a reference, before the product goes without a vector
_RETRY_SECONDS = 600.0
_REST_SECONDS = 60.0  # after a batch that failed as a whole
_CLOSE_SECONDS = 5.0
_LOG = logging.getLogger("vetrina.operate")

Product = Mapping[str, Any]


@dataclass(frozen=True)
class _Images:
    """Image network of a version: ``network`` is its SHA-256, ``trained`` the image vectors of the version's catalogue."""

    network: str
    embedder: Embedder
    trained: online.ImageVectors
    catalogue: CatalogueIndex


@dataclass(frozen=True)
class _Missing:
    """A reference behind which no file was found ``tries`` times; not tried again before ``again``, seconds since 1970."""

    tries: int
    again: float


class ImageEmbedding:
    """The images of one shop's new products.

    Batches run in a thread of their own: a server of images that answers slowly must not hold up a release.
    """

    def __init__(self, shop_context: ShopContext) -> None:
        self._engine = shop_context.engine
        self._registry = shop_context.registry
        self._shop = shop_context.folder
        self._changes = StoredChanges(self._engine)
        self._version: str | None = None
        self._images: _Images | None = None
        self._complete: tuple[str | None, int] | None = (
            None  # version and sequence number of the log with nothing left to do
        )
        self._missing: dict[str, _Missing] = {}
        self._rests_until = 0.0
        self._thread: threading.Thread | None = None

    def turn(self) -> None:
        """Start a batch in the background, unless one is under way."""
        if self._thread is not None and self._thread.is_alive():
            return
        if clock.now() < self._rests_until:
            return
        self._thread = threading.Thread(target=self._batch_or_rest, name="embed-images", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait a moment for the batch under way; what it does is safe to be cut off."""
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def batch(self) -> int:
        """Embed the images of a few products; returns how many products were appended to the log."""
        images = self._of_champion()
        if images is None:
            return 0
        self._changes.refresh()
        last_seq = self._changes.seq
        if self._complete == (self._version, last_seq):
            return 0
        without = self._without_vector(images)
        if not without:
            self._missing.clear()
            self._complete = (self._version, last_seq)
            return 0
        now = clock.now()
        due = [product for product in without if not self._waits(product, now)]
        embedded = self._embedded(images, due[:_BATCH])
        if not embedded:
            return 0
        return products.add_image_vectors(self._engine, embedded, last_seq)

    def _batch_or_rest(self) -> None:
        try:
            self.batch()
        except Exception:  # noqa: BLE001 - a network that does not run, or a store that is away, must not fill the log
            _LOG.exception("images of new products could not be embedded; trying again in %d s", _REST_SECONDS)
            self._rests_until = clock.now() + _REST_SECONDS

    def _of_champion(self) -> _Images | None:
        """The image network of the version that serves; None without such a version, or where it has no image network."""
        version = self._version_with_images()
        if version != self._version:
            self._images = None
            if version:
                self._images = self._opened(version)
            self._version = version
        return self._images

    def _version_with_images(self) -> str | None:
        """The champion of the first scenario that serves and has the image model; None without one."""
        champions = self._registry.champions()
        for scenario in scenario_names():
            if scenario in champions and _IMAGE_MODEL in find_scenario(scenario).recipe.models:
                return champions[scenario]
        return None

    def _opened(self, version: str) -> _Images | None:
        try:
            bundle, folder = self._shop.bundles.unpack(version)
        except OtherFormat:  # it does not serve either; the next run makes one that does
            return None
        network = bundle.parts.get(f"{_IMAGE_MODEL}/{online.NETWORK}")
        if network is None:
            return None
        embedder = Embedder(folder / _IMAGE_MODEL / online.NETWORK)
        return _Images(network, embedder, online.load(folder / _IMAGE_MODEL), CatalogueIndex(folder / "catalogue"))

    def _without_vector(self, images: _Images) -> list[Product]:
        """Products with an image of which neither the version nor the log has a vector by its network, oldest first."""
        delta = self._changes.changes_after(images.catalogue.last_seq)
        embedded = {product_id for product_id, image in delta.images.items() if image.network == images.network}
        candidates = []
        for product_id, product in delta.changed_products.items():
            if product.get("image") and product_id not in embedded:
                candidates.append(product_id)
        items = images.catalogue.index_of(candidates)
        without: list[Product] = []
        for product_id, item in zip(candidates, items, strict=True):
            is_trained = item >= 0 and images.trained.has_image(np.array([item]))
            if not is_trained:
                without.append(delta.changed_products[product_id])
        return without

    def _waits(self, product: Product, now: float) -> bool:
        missing = self._missing.get(product["image"])
        return missing is not None and now < missing.again

    def _embedded(self, images: _Images, due: Sequence[Product]) -> list[tuple[Product, ImageVector]]:
        """Products with the vectors of their images, empty vectors where there is no image. Those to try again are left out."""
        files: list[tuple[Product, Path | None]] = []
        for product in due:
            file = self._file(product["image"])
            if file is None and self._tries_again(product["image"]):
                continue
            files.append((product, file))
        contents = (read_image_file(file) if file else None for _, file in files)
        decoded_images = decode_images(contents, images.embedder.size)
        vectors_by_product: list[tuple[Product, ImageVector]] = []
        readable: list[Product] = []
        pixels: list[Pixels] = []
        for (product, _), image in zip(files, decoded_images, strict=True):
            if image is None:
                _LOG.warning("product %s: its image %s cannot be read", product["product_id"], product["image"])
                vectors_by_product.append((product, ImageVector(images.network)))
            else:
                readable.append(product)
                pixels.append(image)
        if pixels:
            vectors = images.embedder.vectors(pixels)
            for product, vector in zip(readable, vectors, strict=True):
                vectors_by_product.append((product, ImageVector.of(images.network, vector)))
        return vectors_by_product

    def _file(self, reference: str) -> Path | None:
        """The file of the shop that a reference names, or of its URL, fetched once; None where there is none yet."""
        resolved = resolve_reference(self._shop.root, reference)
        private_hosts = self._shop.settings.ingest.image_hosts
        file = download_images([resolved], self._shop.work / "cache" / "pictures", private_hosts)[0]
        if not file:
            return None
        return Path(file)

    def _tries_again(self, reference: str) -> bool:
        """Record that no file was found; whether to look for it once more. Shops often send a product before its image."""
        before = self._missing.pop(reference, _Missing(0, 0.0))
        tries = before.tries + 1
        if tries == _TRIES:
            return False
        self._missing[reference] = _Missing(tries, clock.now() + _RETRY_SECONDS)
        return True
