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
_TIMEOUT, _LARGEST = 10.0, 20_000_000


def kept(root: Path, given: Sequence[str | bytes | None], beside: Path) -> list[str | None]:
    """References for the lake: ``pictures/NAME`` below the shop's folder ``root`` for bytes, data URIs and files (relative ones
    beside the table that names them), URLs as they are, and what is no picture that can be read as it was given."""
    return [_kept(root, one, beside) for one in given]


def file(root: Path, reference: str | None) -> str:
    """The file of a picture, a URL fetched once; empty where there is nothing to be had."""
    if not reference:
        return ""
    if not reference.startswith(("http://", "https://")):
        return str(root / reference) if (root / reference).is_file() else ""
    path = root / FOLDER / "fetched" / sha256(reference.encode()).hexdigest()[:32]
    if not path.exists():
        try:
            with urllib.request.urlopen(reference, timeout=_TIMEOUT) as answer:  # noqa: S310  the scheme was checked
                write_bytes(path, answer.read(_LARGEST))
        except (URLError, TimeoutError, OSError):
            return ""
    return str(path)


def _kept(root: Path, given: str | bytes | None, beside: Path) -> str | None:
    content = given if isinstance(given, bytes) else _content(given, beside)
    if content is None:
        return given if isinstance(given, str) else None
    name = f"{FOLDER}/{sha256(content).hexdigest()[:32]}"
    if not (root / name).exists():
        write_bytes(root / name, content)
    return name


def _content(given: str | None, beside: Path) -> bytes | None:
    if not given or given.startswith(("http://", "https://")):
        return None
    if given.startswith("data:"):
        try:
            return base64.b64decode(given.partition(",")[2], validate=True)
        except binascii.Error:
            return None
    path = beside / given
    return path.read_bytes() if path.is_file() and path.stat().st_size <= _LARGEST else None
