"""Bundles on disk: parts named by their SHA-256, manifests signed. Equal parts are stored once."""

import os
import shutil
from collections.abc import Mapping, Set
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core.errors import NotFound
from vetrina.core.files import digest_of, folder_beside, write_bytes
from vetrina.core.types import Bundle
from vetrina.security.keys import BadSignature, Keys

MANIFEST = "manifest.json"


def pack(source: Path, scenario: str, notes: Mapping[str, Any], bundles: Path, keys: Keys) -> Bundle:
    """Store every file of ``source`` as a part and write the signed manifest.

    ``bundles/parts/<digest>`` holds the bytes; ``bundles/<version>/`` is a view of hard links, so that readers
    open plain files and the page cache holds equal parts once.
    """
    files = {str(f.relative_to(source)): f for f in sorted(source.rglob("*")) if f.is_file()}
    parts = {name: _store(file, bundles / "parts") for name, file in files.items()}
    content = {"scenario": scenario, "parts": parts, "notes": notes}
    text = msgspec.json.encode(content, order="sorted")
    bundle = Bundle(sha256(text).hexdigest(), scenario, parts, notes)
    with folder_beside(bundles / bundle.version) as folder:
        for name, digest in parts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(bundles / "parts" / digest, folder / name)
        write_bytes(folder / MANIFEST, text)
        write_bytes(folder / "signature", keys.sign(text).encode())
    return bundle


def unpack(version: str, bundles: Path, keys: Keys, *, check_parts: bool = False) -> tuple[Bundle, Path]:
    """The bundle and the folder to open. The manifest's signature is always checked, the parts' bytes on demand.

    Raises NotFound for an unknown version and BadSignature for changed content.
    """
    folder = bundles / version
    if not (folder / MANIFEST).exists():
        raise NotFound(version, "has no bundle in this shop", "`vetrina versions` lists the versions")
    text = (folder / MANIFEST).read_bytes()
    keys.verify(text, (folder / "signature").read_text())
    raw = msgspec.json.decode(text)
    if check_parts:
        for name, digest in raw["parts"].items():
            if digest_of(folder / name) != digest:
                raise BadSignature(f"part {name} of {version} was changed after it was signed")
    return Bundle(sha256(text).hexdigest(), raw["scenario"], raw["parts"], raw["notes"]), folder


def collect(bundles: Path, keep: Set[str]) -> int:
    """Remove all versions but ``keep``, and the parts that only they used. Returns the bytes set free.

    Nothing may be packed meanwhile: a part is written before the manifest that names it.
    """
    needed: set[str] = set()
    gone: list[Path] = []
    for manifest in bundles.glob(f"*/{MANIFEST}"):
        if manifest.parent.name in keep:
            needed |= set(msgspec.json.decode(manifest.read_bytes())["parts"].values())
        else:
            gone.append(manifest.parent)
    for folder in gone:  # the manifest goes first: what is half removed is no version any more
        (folder / MANIFEST).unlink()
        shutil.rmtree(folder)
    freed = 0
    for part in (bundles / "parts").glob("*"):
        if part.name not in needed:
            freed += part.stat().st_size
            part.unlink()
    return freed


def _store(file: Path, parts: Path) -> str:
    digest = digest_of(file)
    target = parts / digest
    if not target.exists():
        parts.mkdir(parents=True, exist_ok=True)
        temporary = parts / f".{digest}.{os.getpid()}"
        shutil.copyfile(file, temporary)
        temporary.replace(target)
    return digest
