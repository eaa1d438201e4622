"""Product images: content-addressed storage and download.

Files, bytes and data URIs become files of the shop, named by their content. A URL is downloaded only when the image is used.
"""

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
    """Store images in the shop's folder and return the references that the lake contains.

    Args:
        root: The shop's folder.
        references: Bytes, data URIs, file names or URLs of images.
        base_folder: Folder that relative file names start at.

    Returns:
        ``pictures/NAME`` for bytes, data URIs and files; URLs and references that cannot be read are unchanged.
    """
    return [_store_image(root, reference, base_folder) for reference in references]


def resolve_reference(root: Path, reference: str | None) -> str:
    """The file of a reference of the lake, or its URL; empty if there is none."""
    if not reference:
        return ""
    if reference.startswith(_URL_PREFIXES):
        return reference
    file = root / reference
    if not file.is_file():
        return ""
    return str(file)


def download_images(references: Sequence[str], cache_folder: Path) -> list[str]:
    """Files of images; URLs are downloaded once into ``cache_folder``.

    After five consecutive failures no further URL is tried: a shop that cannot reach its images must not wait for each of them.

    Returns:
        The file of each reference, empty for a URL that could not be downloaded.
    """
    files: list[str] = []
    failures = 0
    for reference in references:
        if not reference.startswith(_URL_PREFIXES):
            files.append(reference)
            continue
        file = cache_folder / sha256(reference.encode()).hexdigest()[:32]
        if not file.exists() and failures < _MAX_CONSECUTIVE_FAILURES:
            failures = 0 if _download(reference, file) else failures + 1
        files.append(str(file) if file.exists() else "")
    return files


def _download(url: str, file: Path) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - http and https only
            write_bytes(file, response.read(_MAX_BYTES))
    except (URLError, TimeoutError, OSError, ValueError):
        return False
    return True


def _store_image(root: Path, reference: str | bytes | None, base_folder: Path) -> str | None:
    if isinstance(reference, bytes):
        return _store_content(root, reference)
    content = _read_content(reference, base_folder)
    if content is None:
        return reference
    return _store_content(root, content)


def _store_content(root: Path, content: bytes) -> str:
    name = f"{IMAGE_FOLDER}/{sha256(content).hexdigest()[:32]}"
    if not (root / name).exists():
        write_bytes(root / name, content)
    return name


def _read_content(reference: str | None, base_folder: Path) -> bytes | None:
    """Content of a data URI or a file; None for URLs, and if it cannot be read."""
    if not reference or reference.startswith(_URL_PREFIXES):
        return None
    if reference.startswith("data:"):
        try:
            return base64.b64decode(reference.partition(",")[2], validate=True)
        except binascii.Error:
            return None
    path = base_folder / reference
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return None
    return path.read_bytes()
