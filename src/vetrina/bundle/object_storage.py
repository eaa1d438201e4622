"""Bundles in object storage, through fsspec.

Parts are uploaded first and the manifest last: a version exists once its manifest does. No object is ever overwritten with other
content.
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
# Younger objects are kept: another machine may not have written the manifest of a part yet, or recorded its version.
_GRACE_PERIOD = timedelta(days=1)


class ObjectStorage:
    """A location in object storage, such as ``s3://bucket/shop``. All methods raise BadInput if it cannot be reached."""

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

            # Uploads of other machines must be visible, so listings are not cached.
            return url_to_fs(self._url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            way_out = 'pip install "vetrina[s3]" for s3://bucket/prefix, or give another fsspec URL'
            raise BadInput(f"[store] bundles {self._url!r}", f"cannot be opened ({error})", way_out) from None

    def put(self, version: str, folder: Path, parts: Mapping[str, str]) -> None:
        """Upload a version. Repeating it changes nothing.

        Args:
            version: Name of the version.
            folder: Folder of its bundle.
            parts: Digest of each file, by its path in ``folder``.
        """
        if self._exists(f"{version}/{MANIFEST}"):
            return
        for name, digest in parts.items():
            if not self._is_complete(folder / name, f"{PARTS}/{digest}"):
                self._upload(folder / name, f"{PARTS}/{digest}")
        for name in (SIGNATURE, MANIFEST):
            self._upload(folder / name, f"{version}/{name}")

    def manifest(self, version: str) -> tuple[bytes, str]:
        """Manifest and signature of a version, not verified. Raises NotFound."""
        try:
            manifest = self._call("cat_file", f"{version}/{MANIFEST}")
            signature = self._call("cat_file", f"{version}/{SIGNATURE}")
        except FileNotFoundError:
            raise NotFound(version, f"has no bundle in {self._url}", "`vetrina versions` lists the versions") from None
        return manifest, signature.decode()

    def get(self, digest: str, target: Path) -> None:
        """Download a part to the file ``target``, not verified. Raises NotFound."""
        try:
            self._call("get_file", f"{PARTS}/{digest}", str(target))
        except FileNotFoundError:
            way_out = "restore it, or promote another version"
            raise NotFound(digest[:12], f"is no part in {self._url}", way_out) from None

    def collect_garbage(self, keep: Set[str]) -> int:
        """Delete versions older than a day but ``keep``, and parts that old that only they use. Returns the freed bytes."""
        used_parts: set[str] = set()
        obsolete_versions: list[str] = []
        for path in self._call("glob", f"*/{MANIFEST}"):
            version = path.split("/")[-2]
            if version in keep or self._age(path) <= _GRACE_PERIOD:
                manifest, _ = self.manifest(version)
                used_parts |= set(msgspec.json.decode(manifest)["parts"].values())
            else:
                obsolete_versions.append(version)
        for version in obsolete_versions:
            # Without a manifest, a partly deleted version does not exist any more.
            self._call("rm_file", f"{version}/{MANIFEST}")
            self._call("rm_file", f"{version}/{SIGNATURE}")
        freed_bytes = 0
        for path in self._call("glob", f"{PARTS}/*"):
            digest = path.split("/")[-1]
            if digest not in used_parts and self._age(path) > _GRACE_PERIOD:
                freed_bytes += self._call("size", f"{PARTS}/{digest}")
                self._call("rm_file", f"{PARTS}/{digest}")
        return freed_bytes

    def _age(self, path: str) -> timedelta:
        """Age of an object, by the clock of this machine."""
        modified_at = self._fs.modified(path)
        if not modified_at.tzinfo:
            modified_at = modified_at.replace(tzinfo=UTC)
        return datetime.now(UTC) - modified_at

    def _exists(self, name: str) -> bool:
        return bool(self._call("exists", name))

    def _is_complete(self, file: Path, name: str) -> bool:
        """Whether an object exists and has the size of the file, so that its upload was not interrupted."""
        return self._exists(name) and self._call("size", name) == file.stat().st_size

    def _upload(self, file: Path, name: str) -> None:
        target = f"{self._root}/{name}"
        parent = target.rsplit("/", 1)[0]
        self._fs.makedirs(parent, exist_ok=True)
        try:
            self._fs.put_file(str(file), target)
        except OSError as error:
            raise self._access_error(error) from error

    def _call(self, method: str, name: str, *arguments: Any) -> Any:
        """Call a method of the file system on an object; errors of the service become BadInput."""
        try:
            return getattr(self._fs, method)(f"{self._root}/{name}", *arguments)
        except FileNotFoundError:
            raise
        except OSError as error:  # s3fs raises OSError for all errors of the service
            raise self._access_error(error) from error

    def _access_error(self, error: OSError) -> BadInput:
        return BadInput(
            self._url,
            f"cannot be used ({error})",
            "look at the address, the credentials and the rights there, then repeat",
        )
