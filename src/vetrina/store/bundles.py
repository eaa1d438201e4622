"""Bundles: parts named by their SHA-256, manifests signed. Equal parts are stored once. On disk, and where ``[store] bundles``
says so in object storage, of which the disk then holds a copy."""

import os
import shutil
from collections.abc import Mapping, Set
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core.errors import NotFound, OtherFormat
from vetrina.core.files import atomic_folder, digest_of, write_bytes
from vetrina.core.types import Bundle
from vetrina.core.version import BUNDLE_FORMAT
from vetrina.security.keys import BadSignature, Keys
from vetrina.store.object_storage import MANIFEST, PARTS, SIGNATURE, ObjectStorage


@dataclass(frozen=True)
class BundleStore:
    """The bundles of one shop."""

    folder: Path
    keys: Keys
    remote: ObjectStorage | None = None

    def pack(self, source: Path, scenario: str, notes: Mapping[str, Any]) -> Bundle:
        """Store every file of ``source`` as a part and write the signed manifest.

        ``parts/<digest>`` holds the bytes; ``<version>/`` is a view of hard links, so that readers open plain files and the
        page cache holds equal parts once.
        """
        files = {str(f.relative_to(source)): f for f in sorted(source.rglob("*")) if f.is_file()}
        parts = {name: self._store_part(file) for name, file in files.items()}
        manifest = {"format": BUNDLE_FORMAT, "scenario": scenario, "parts": parts, "notes": notes}
        text = msgspec.json.encode(manifest, order="sorted")
        bundle = Bundle(sha256(text).hexdigest(), scenario, parts, notes)
        self._link_version(bundle.version, parts, text, self.keys.sign(text))
        if self.remote:
            self.remote.put(bundle.version, self.folder / bundle.version, parts)
        return bundle

    def unpack(self, version: str, *, check_parts: bool = False) -> tuple[Bundle, Path]:
        """The bundle and the folder to open, fetched first if only the object storage has it.

        The manifest's signature is always checked, the parts' bytes on demand and when they are fetched. Raises NotFound for an
        unknown version, BadSignature for changed content and OtherFormat for a bundle that another Vetrina wrote.
        """
        folder = self.folder / version
        if not (folder / MANIFEST).exists():
            if self.remote is None:
                raise NotFound(version, "has no bundle in this shop", "`vetrina versions` lists the versions")
            self._fetch(version, self.remote)
        text = (folder / MANIFEST).read_bytes()
        self.keys.verify(text, (folder / SIGNATURE).read_text())
        raw = msgspec.json.decode(text)
        _refuse_other_formats(version, raw)
        if check_parts:
            for name, digest in raw["parts"].items():
                _verify_digest(folder / name, digest, version)
        return Bundle(sha256(text).hexdigest(), raw["scenario"], raw["parts"], raw["notes"]), folder

    def collect_garbage(self, keep: Set[str]) -> int:
        """Remove all versions but ``keep``, and the parts that only they used. Returns the bytes set free.

        Nothing may be packed here meanwhile: a part is written before the manifest that names it.
        """
        freed = self.remote.collect_garbage(keep) if self.remote else 0
        needed: set[str] = set()
        gone: list[Path] = []
        for manifest in self.folder.glob(f"*/{MANIFEST}"):
            if manifest.parent.name in keep:
                needed |= set(msgspec.json.decode(manifest.read_bytes())["parts"].values())
            else:
                gone.append(manifest.parent)
        for folder in gone:  # the manifest goes first: what is half removed is no version any more
            (folder / MANIFEST).unlink()
            shutil.rmtree(folder)
        for part in (self.folder / PARTS).glob("*"):
            if part.name not in needed:
                freed += part.stat().st_size
                part.unlink()
        return freed

    def _fetch(self, version: str, remote: ObjectStorage) -> None:
        text, signature = remote.manifest(version)
        self.keys.verify(text, signature)
        parts: dict[str, str] = msgspec.json.decode(text)["parts"]
        (self.folder / PARTS).mkdir(parents=True, exist_ok=True)
        for digest in {d for d in parts.values() if not (self.folder / PARTS / d).exists()}:
            temporary = self.folder / PARTS / f".{digest}.{os.getpid()}"
            try:
                remote.get(digest, temporary)
                _verify_digest(temporary, digest, version)
                temporary.replace(self.folder / PARTS / digest)
            finally:
                temporary.unlink(missing_ok=True)
        self._link_version(version, parts, text, signature)

    def _link_version(self, version: str, parts: Mapping[str, str], text: bytes, signature: str) -> None:
        with atomic_folder(self.folder / version) as folder:
            for name, digest in parts.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(self.folder / PARTS / digest, folder / name)
            write_bytes(folder / MANIFEST, text)
            write_bytes(folder / SIGNATURE, signature.encode())

    def _store_part(self, file: Path) -> str:
        digest = digest_of(file)
        target = self.folder / PARTS / digest
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.parent / f".{digest}.{os.getpid()}"
            shutil.copyfile(file, temporary)
            temporary.replace(target)
        return digest


def _refuse_other_formats(version: str, manifest: Mapping[str, Any]) -> None:
    """Raises OtherFormat. Before formats had numbers, bundles were those of 0.1.0."""
    written = manifest.get("format", 1)
    if written != BUNDLE_FORMAT:
        age = "an older" if written < BUNDLE_FORMAT else "a newer"
        way_out = f"`vetrina run {manifest['scenario']}` makes a new one"
        raise OtherFormat(version, f"is a bundle of {age} Vetrina", way_out)


def _verify_digest(file: Path, digest: str, version: str) -> None:
    if digest_of(file) != digest:
        raise BadSignature(f"part {file.name} of {version} was changed after it was signed")
