"""Products' pictures as files of the shop, named by their content; a URL stays one until somebody looks."""

import base64
import binascii
import urllib.request
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from urllib.error import URLError

from vetrina.core.files import write_bytes

IMAGE_FOLDER = "pictures"
_URL_PREFIXES = ("http://", "https://")
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 20_000_000
_MAX_CONSECUTIVE_FAILURES = 5


def store_images(root: Path, references: Sequence[str | bytes | None], base_folder: Path) -> list[str | None]:
    """References for the lake: ``pictures/NAME`` below the shop's folder ``root`` for bytes, data URIs and files (relative ones
    beside the table that names them), URLs as they are, and what is no picture that can be read as it was given."""
    return [_store_image(root, one, base_folder) for one in references]


def resolve_reference(root: Path, reference: str | None) -> str:
    """The file that a reference of the lake names, or its URL; empty where there is neither."""
    if not reference or reference.startswith(_URL_PREFIXES):
        return reference or ""
    return str(root / reference) if (root / reference).is_file() else ""


def download_images(references: Sequence[str], cache_folder: Path) -> list[str]:
    """For ``named`` references their files; URLs are fetched into a folder, each once, and empty where that fails.

    After _PATIENCE failures in a row no further URL is tried: a shop without a way to its pictures must not wait for each.
    """
    found = []
    failed = 0
    for reference in references:
        file = cache_folder / sha256(reference.encode()).hexdigest()[:32]
        remote = reference.startswith(_URL_PREFIXES)
        if remote and not file.exists() and failed < _MAX_CONSECUTIVE_FAILURES:
            failed = 0 if _download(reference, file) else failed + 1
        found.append(reference if not remote else str(file) if file.exists() else "")
    return found


def _download(url: str, file: Path) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310  only http and https come here
            write_bytes(file, answer.read(_MAX_BYTES))
    except (URLError, TimeoutError, OSError, ValueError):
        return False
    return True


def _store_image(root: Path, reference: str | bytes | None, base_folder: Path) -> str | None:
    content = reference if isinstance(reference, bytes) else _read_content(reference, base_folder)
    if content is None:
        return reference if isinstance(reference, str) else None
    name = f"{IMAGE_FOLDER}/{sha256(content).hexdigest()[:32]}"
    if not (root / name).exists():
        write_bytes(root / name, content)
    return name


def _read_content(reference: str | None, base_folder: Path) -> bytes | None:
    if not reference or reference.startswith(_URL_PREFIXES):
        return None
    if reference.startswith("data:"):
        try:
            return base64.b64decode(reference.partition(",")[2], validate=True)
        except binascii.Error:
            return None
    path = base_folder / reference
    return path.read_bytes() if path.is_file() and path.stat().st_size <= _MAX_BYTES else None
