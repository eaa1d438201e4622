"""Products' pictures as files of the shop, named by their content; a URL stays one until somebody looks."""

import base64
import binascii
import urllib.request
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from urllib.error import URLError

from vetrina.core.files import write_bytes

FOLDER = "pictures"
_REMOTE = ("http://", "https://")
_TIMEOUT, _LARGEST, _PATIENCE = 5.0, 20_000_000, 5


def kept(root: Path, given: Sequence[str | bytes | None], beside: Path) -> list[str | None]:
    """References for the lake: ``pictures/NAME`` below the shop's folder ``root`` for bytes, data URIs and files (relative ones
    beside the table that names them), URLs as they are, and what is no picture that can be read as it was given."""
    return [_kept(root, one, beside) for one in given]


def named(root: Path, reference: str | None) -> str:
    """The file that a reference of the lake names, or its URL; empty where there is neither."""
    if not reference or reference.startswith(_REMOTE):
        return reference or ""
    return str(root / reference) if (root / reference).is_file() else ""


def files(references: Sequence[str], into: Path) -> list[str]:
    """For ``named`` references their files; URLs are fetched into a folder, each once, and empty where that fails.

    After _PATIENCE failures in a row no further URL is tried: a shop without a way to its pictures must not wait for each.
    """
    found, failed = [], 0
    for reference in references:
        file = into / sha256(reference.encode()).hexdigest()[:32]
        remote = reference.startswith(_REMOTE)
        if remote and not file.exists() and failed < _PATIENCE:
            failed = 0 if _fetched(reference, file) else failed + 1
        found.append(reference if not remote else str(file) if file.exists() else "")
    return found


def _fetched(url: str, file: Path) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310  only http and https come here
            write_bytes(file, answer.read(_LARGEST))
    except (URLError, TimeoutError, OSError, ValueError):
        return False
    return True


def _kept(root: Path, given: str | bytes | None, beside: Path) -> str | None:
    content = given if isinstance(given, bytes) else _content(given, beside)
    if content is None:
        return given if isinstance(given, str) else None
    name = f"{FOLDER}/{sha256(content).hexdigest()[:32]}"
    if not (root / name).exists():
        write_bytes(root / name, content)
    return name


def _content(given: str | None, beside: Path) -> bytes | None:
    if not given or given.startswith(_REMOTE):
        return None
    if given.startswith("data:"):
        try:
            return base64.b64decode(given.partition(",")[2], validate=True)
        except binascii.Error:
            return None
    path = beside / given
    return path.read_bytes() if path.is_file() and path.stat().st_size <= _LARGEST else None
