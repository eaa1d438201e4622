"""Bundle store: content-addressed parts under signed manifests.

A part is a file named by its SHA-256, so equal parts are stored once. With ``[store] bundles`` the bundles lie in object storage,
and the disk has a copy of those in use.
"""

import os
import shutil
from collections.abc import Mapping, Set
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from vetrina.bundle.manifest import Bundle, TrainingRecord, record_from_json, record_to_json
from vetrina.bundle.object_storage import MANIFEST, PARTS, SIGNATURE, ObjectStorage
from vetrina.core.errors import NotFound, OtherFormat
from vetrina.core.files import atomic_folder, atomic_write, digest_of, remove_folder, remove_leftovers, write_bytes
from vetrina.core.keys import BadSignature, Keys
from vetrina.core.version import BUNDLE_FORMAT


@dataclass(frozen=True)
class BundleStore:
    """Bundles of one shop.

    Attributes:
        folder: Folder of the bundles on disk.
        keys: Keys that sign and verify manifests.
        remote: Object storage; None to store bundles on disk only.
    """

    folder: Path
    keys: Keys
    remote: ObjectStorage | None = None

    def pack(self, source: Path, scenario: str, record: TrainingRecord) -> Bundle:
        """Store all files of a folder as parts and write the signed manifest.

        The content lies in ``parts/<digest>``. ``<version>/`` consists of hard links, so that readers open plain files and the
        page cache has equal parts once.

        Args:
            source: Folder of the files.
            scenario: The scenario.
            record: How the models were made.

        Returns:
            The bundle as ``unpack`` reads it.
        """
        files = [file for file in sorted(source.rglob("*")) if file.is_file()]
        parts = {str(file.relative_to(source)): self._store_part(file) for file in files}
        notes = record_to_json(record)
        manifest = {"format": BUNDLE_FORMAT, "scenario": scenario, "parts": parts, "notes": notes}
        text = msgspec.json.encode(manifest, order="sorted")
        bundle = Bundle(sha256(text).hexdigest(), scenario, parts, record_from_json(notes))
        self._link_version(bundle.version, parts, text, self.keys.sign(text))
        if self.remote:
            self.remote.put(bundle.version, self.folder / bundle.version, parts)
        return bundle

    def unpack(self, version: str, *, check_parts: bool = False) -> tuple[Bundle, Path]:
        """A bundle and its folder on disk; it is fetched first if only the object storage has it.

        The signature of the manifest is always verified. The content of parts is verified when they are fetched, and with
        ``check_parts``.

        Raises:
            NotFound: There is no such bundle.
            BadSignature: The manifest or a part was changed.
            OtherFormat: Another version of Vetrina wrote the bundle.
        """
        text = self._signed_manifest(version)
        raw = msgspec.json.decode(text)
        _refuse_other_formats(version, raw)
        if check_parts:
            self._verify_parts(version, raw["parts"])
        record = record_from_json(raw["notes"])
        bundle = Bundle(sha256(text).hexdigest(), raw["scenario"], raw["parts"], record)
        return bundle, self.folder / version

    def verified_files(self, version: str) -> list[Path]:
        """All files of a bundle of whatever format, on disk, with every byte verified.

        Raises:
            NotFound: There is no such bundle.
            BadSignature: The manifest or a part was changed.
        """
        parts: dict[str, str] = msgspec.json.decode(self._signed_manifest(version))["parts"]
        self._verify_parts(version, parts)
        shared_parts = [self.folder / PARTS / digest for digest in sorted(set(parts.values()))]
        return [*shared_parts, *(self.folder / version / name for name in (*parts, MANIFEST, SIGNATURE))]

    def _signed_manifest(self, version: str) -> bytes:
        """The manifest of a bundle, its signature verified; the bundle is fetched first if only the object storage has it."""
        folder = self.folder / version
        if not (folder / MANIFEST).exists():
            if self.remote is None:
                raise NotFound(version, "has no bundle in this shop", "`vetrina versions` lists the versions")
            self._fetch(version, self.remote)
        text = (folder / MANIFEST).read_bytes()
        self.keys.verify(text, (folder / SIGNATURE).read_text())
        return text

    def _verify_parts(self, version: str, parts: Mapping[str, str]) -> None:
        for name, digest in parts.items():
            _verify_digest(self.folder / version / name, digest, version)

    def collect_garbage(self, keep: Set[str]) -> int:
        """Delete all versions but ``keep``, and the parts that only they use. Returns the number of freed bytes.

        No bundle may be packed at the same time: parts are written before the manifest that lists them.
        """
        freed_bytes = self.remote.collect_garbage(keep) if self.remote else 0
        remove_leftovers(self.folder)
        used_parts: set[str] = set()
        obsolete_folders: list[Path] = []
        for manifest in self.folder.glob(f"*/{MANIFEST}"):
            if manifest.parent.name in keep:
                used_parts |= set(msgspec.json.decode(manifest.read_bytes())["parts"].values())
            else:
                obsolete_folders.append(manifest.parent)
        for folder in obsolete_folders:
            remove_folder(folder)
        for part in (self.folder / PARTS).glob("*"):
            if part.name not in used_parts:
                freed_bytes += part.stat().st_size
                part.unlink()
        return freed_bytes

    def _fetch(self, version: str, remote: ObjectStorage) -> None:
        """Copy a version from the object storage to disk."""
        text, signature = remote.manifest(version)
        self.keys.verify(text, signature)
        parts: dict[str, str] = msgspec.json.decode(text)["parts"]
        parts_folder = self.folder / PARTS
        parts_folder.mkdir(parents=True, exist_ok=True)
        for digest in set(parts.values()):
            target = parts_folder / digest
            if _has_digest(target, digest):
                continue
            with atomic_write(target) as temporary:
                remote.get(digest, temporary)
                _verify_digest(temporary, digest, version)
        self._link_version(version, parts, text, signature)

    def _link_version(self, version: str, parts: Mapping[str, str], text: bytes, signature: str) -> None:
        def is_complete(folder: Path) -> bool:
            has_manifest = (folder / MANIFEST).exists() and (folder / SIGNATURE).exists()
            return has_manifest and all(_has_digest(folder / name, digest) for name, digest in parts.items())

        with atomic_folder(self.folder / version, is_complete) as folder:
            for name, digest in parts.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(self.folder / PARTS / digest, folder / name)
            write_bytes(folder / MANIFEST, text)
            write_bytes(folder / SIGNATURE, signature.encode())

    def _store_part(self, file: Path) -> str:
        digest = digest_of(file)
        target = self.folder / PARTS / digest
        if not _has_digest(target, digest):
            with atomic_write(target) as temporary:
                shutil.copyfile(file, temporary)
        return digest


def _has_digest(file: Path, digest: str) -> bool:
    """Whether a file is there as it was written: after a power cut it may be empty."""
    return file.exists() and digest_of(file) == digest


def _refuse_other_formats(version: str, manifest: Mapping[str, Any]) -> None:
    """Raises OtherFormat for a bundle that another version of Vetrina wrote. Bundles of 0.1.0 have no format number."""
    bundle_format = manifest.get("format", 1)
    if bundle_format != BUNDLE_FORMAT:
        age = "an older" if bundle_format < BUNDLE_FORMAT else "a newer"
        way_out = f"`vetrina run {manifest['scenario']}` makes a new one"
        raise OtherFormat(version, f"is a bundle of {age} Vetrina", way_out)


def _verify_digest(file: Path, digest: str, version: str) -> None:
    if digest_of(file) != digest:
        raise BadSignature(f"part {file.name} of {version} was changed after it was signed")
