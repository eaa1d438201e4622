"""Bundles in object storage: S3 or whatever else fsspec knows by its URL. Parts by digest first, the manifest last.

A version is there once its manifest is; nothing is ever written over with other content.
"""

from collections.abc import Mapping, Set
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core.errors import BadInput, NotFound

MANIFEST = "manifest.json"
SIGNATURE = "signature"
PARTS = "parts"
_GRACE_PERIOD = timedelta(days=1)  # a part may belong to a manifest that another machine is still to write


class ObjectStorage:
    """One place, such as ``s3://bucket/shop``. Raises BadInput where it cannot be reached."""

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _fs(self) -> Any:
        return self._filesystem_and_root[0]

    @cached_property
    def _root(self) -> str:
        return self._filesystem_and_root[1].rstrip("/")

    @cached_property
    def _filesystem_and_root(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs

            # What another machine has sent since must be seen: nothing is listed from memory.
            return url_to_fs(self._url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            way_out = 'pip install "vetrina[s3]" for s3://bucket/prefix, or give another fsspec URL'
            raise BadInput(f"[store] bundles {self._url!r}", f"cannot be opened ({error})", way_out) from None

    def put(self, version: str, folder: Path, parts: Mapping[str, str]) -> None:
        """Send a version; ``parts`` maps a name in ``folder`` to its digest. Repeating it changes nothing."""
        if self._exists(f"{version}/{MANIFEST}"):
            return
        for name, digest in parts.items():
            if not self._is_complete(folder / name, f"{PARTS}/{digest}"):
                self._upload(folder / name, f"{PARTS}/{digest}")
        for name in (SIGNATURE, MANIFEST):
            self._upload(folder / name, f"{version}/{name}")

    def manifest(self, version: str) -> tuple[bytes, str]:
        """Manifest and signature as they were sent. Raises NotFound."""
        try:
            return self._call("cat_file", f"{version}/{MANIFEST}"), self._call(
                "cat_file", f"{version}/{SIGNATURE}"
            ).decode()
        except FileNotFoundError:
            raise NotFound(version, f"has no bundle in {self._url}", "`vetrina versions` lists the versions") from None

    def get(self, digest: str, target: Path) -> None:
        """Write a part to ``target``; whoever asks checks its digest."""
        try:
            self._call("get_file", f"{PARTS}/{digest}", str(target))
        except FileNotFoundError:
            way_out = "restore it, or promote another version"
            raise NotFound(digest[:12], f"is no part in {self._url}", way_out) from None

    def collect_garbage(self, keep: Set[str]) -> int:
        """Remove all versions but ``keep`` and parts that only they used, young ones aside. Returns the bytes set free."""
        needed: set[str] = set()
        gone: list[str] = []
        for path in self._call("glob", f"*/{MANIFEST}"):
            version = path.split("/")[-2]
            if version in keep:
                needed |= set(msgspec.json.decode(self.manifest(version)[0])["parts"].values())
            else:
                gone.append(version)
        for version in gone:  # the manifest goes first: what is half removed is no version any more
            self._call("rm_file", f"{version}/{MANIFEST}")
            self._call("rm_file", f"{version}/{SIGNATURE}")
        freed = 0
        for path in self._call("glob", f"{PARTS}/*"):
            digest = path.split("/")[-1]
            if digest not in needed and datetime.now(UTC) - self._modified(path) > _GRACE_PERIOD:
                freed += self._call("size", f"{PARTS}/{digest}")
                self._call("rm_file", f"{PARTS}/{digest}")
        return freed

    def _modified(self, path: str) -> datetime:
        moment = self._fs.modified(path)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _exists(self, name: str) -> bool:
        return bool(self._call("exists", name))

    def _is_complete(self, file: Path, name: str) -> bool:
        """There, and not cut off on its way."""
        return self._exists(name) and self._call("size", name) == file.stat().st_size

    def _upload(self, file: Path, name: str) -> None:
        self._fs.makedirs(f"{self._root}/{name}".rsplit("/", 1)[0], exist_ok=True)
        try:
            self._fs.put_file(str(file), f"{self._root}/{name}")
        except OSError as error:
            raise self._access_error(error) from error

    def _call(self, verb: str, name: str, *more: Any) -> Any:
        try:
            return getattr(self._fs, verb)(f"{self._root}/{name}", *more)
        except FileNotFoundError:
            raise
        except OSError as error:  # s3fs turns what the service says into OSError
            raise self._access_error(error) from error

    def _access_error(self, error: OSError) -> BadInput:
        return BadInput(
            self._url,
            f"cannot be used ({error})",
            "look at the address, the credentials and the rights there, then repeat",
        )
