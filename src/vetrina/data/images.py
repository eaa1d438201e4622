"""Product images: content-addressed storage and download.

Files, bytes and data URIs become files of the shop, named by their content. A URL is downloaded only when the image is used.
References come from feeds of others and are not trusted: a file is read only below the folder of the table that names it, and
what is not an image by its first bytes is not stored.
"""

import base64
import http.client
import os
import re
import stat
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from vetrina.core.files import write_bytes
from vetrina.data.image_download import MAX_IMAGE_BYTES, fetch_image

IMAGE_FOLDER = "pictures"
_STORED_IMAGE = re.compile(f"{IMAGE_FOLDER}/[0-9a-f]{{32}}")
_URL_PREFIXES = ("http://", "https://")
# First bytes of JPEG, PNG and GIF. WebP begins with RIFF, four bytes of length, and WEBP.
_IMAGE_PREFIXES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
_MAX_CONSECUTIVE_FAILURES = 5  # of a host
_PARALLEL_DOWNLOADS = 4
_DOWNLOAD_SECONDS = 600.0  # for all images of a call
_DOWNLOAD_BYTES = 5_000_000_000  # likewise


def store_images(root: Path, references: Sequence[str | bytes | None], base_folder: Path) -> list[str | None]:
    """Store images in the shop's folder and return the references that the lake contains.

    Args:
        root: The shop's folder.
        references: Bytes, data URIs, file names or URLs of images.
        base_folder: Folder that file names start at, and that they cannot leave.

    Returns:
        ``pictures/NAME`` for bytes, data URIs and files; URLs are unchanged; None for what is no image or cannot be read.
    """
    return [_store_image(root, reference, base_folder) for reference in references]


def resolve_reference(root: Path, reference: str | None) -> str:
    """The file of a reference of the lake or of the product log, or its URL; empty if there is none."""
    if not reference:
        return ""
    if reference.startswith(_URL_PREFIXES):
        return reference
    if _STORED_IMAGE.fullmatch(reference):  # most references: named by this module
        file = root / reference
        return str(file) if file.is_file() else ""
    file = _file_below(root, reference)
    return str(file) if file is not None else ""


def is_image(content: bytes) -> bool:
    """Whether content begins as a JPEG, PNG, GIF or WebP does."""
    is_webp = content.startswith(b"RIFF") and content[8:12] == b"WEBP"
    return is_webp or content.startswith(_IMAGE_PREFIXES)


def download_images(references: Sequence[str], cache_folder: Path, private_hosts: Collection[str] = ()) -> list[str]:
    """Files of images; URLs are downloaded once into ``cache_folder``, a few at a time, for ten minutes at most.

    After five consecutive failures no further URL of the same host is tried: a shop that cannot reach its images must not wait
    for each of them.

    Args:
        references: Files and URLs.
        cache_folder: Where downloaded images are stored.
        private_hosts: Host names whose addresses may be private.

    Returns:
        The file of each reference, empty for a URL that could not be downloaded.
    """
    missing: list[str] = []
    for reference in dict.fromkeys(references):
        if reference.startswith(_URL_PREFIXES) and not _cached_file(cache_folder, reference).exists():
            missing.append(reference)
    if missing:
        downloads = _Downloads(cache_folder, private_hosts)
        with ThreadPoolExecutor(_PARALLEL_DOWNLOADS, "download-images") as pool:
            for _ in pool.map(downloads.download, missing):
                pass
    files: list[str] = []
    for reference in references:
        if not reference.startswith(_URL_PREFIXES):
            files.append(reference)
            continue
        file = _cached_file(cache_folder, reference)
        files.append(str(file) if file.exists() else "")
    return files


class _Downloads:
    """Downloads of one call, with a budget for all of them; called by several threads."""

    def __init__(self, cache_folder: Path, private_hosts: Collection[str]) -> None:
        self._cache_folder = cache_folder
        self._private_hosts = frozenset(host.lower() for host in private_hosts)
        self._ends_at = time.monotonic() + _DOWNLOAD_SECONDS
        self._lock = threading.Lock()
        self._bytes = 0
        self._failures: Counter[str] = Counter()  # consecutive ones, by host

    def download(self, url: str) -> None:
        """Download an image, unless the budget is spent or its host has failed too often."""
        try:
            host = urlsplit(url).netloc
        except ValueError:
            return
        if not self._may_download(host):
            return
        try:
            content = fetch_image(url, self._private_hosts)
        except (OSError, ValueError, http.client.HTTPException):
            content = b""
        if is_image(content):
            write_bytes(_cached_file(self._cache_folder, url), content)
        self._count(host, content)

    def _may_download(self, host: str) -> bool:
        with self._lock:
            is_in_budget = time.monotonic() < self._ends_at and self._bytes < _DOWNLOAD_BYTES
            return is_in_budget and self._failures[host] < _MAX_CONSECUTIVE_FAILURES

    def _count(self, host: str, content: bytes) -> None:
        with self._lock:
            self._bytes += len(content)
            if is_image(content):
                self._failures[host] = 0
            else:
                self._failures[host] += 1


def _cached_file(cache_folder: Path, url: str) -> Path:
    return cache_folder / sha256(url.encode()).hexdigest()[:32]


def _store_image(root: Path, reference: str | bytes | None, base_folder: Path) -> str | None:
    if not reference:
        return None
    if isinstance(reference, str) and reference.startswith(_URL_PREFIXES):
        return reference
    content = reference
    if isinstance(reference, str):
        content = _read_content(reference, base_folder)
    if not isinstance(content, bytes) or len(content) > MAX_IMAGE_BYTES or not is_image(content):
        return None
    name = f"{IMAGE_FOLDER}/{sha256(content).hexdigest()[:32]}"
    if not (root / name).exists():
        write_bytes(root / name, content)
    return name


def _read_content(reference: str, base_folder: Path) -> bytes | None:
    """Content of a data URI or of a file below a folder; None if it cannot be read."""
    if reference.startswith("data:"):
        try:
            return base64.b64decode(reference.partition(",")[2], validate=True)
        except ValueError:
            return None
    file = _file_below(base_folder, reference)
    if file is None:
        return None
    return read_image_file(file)


def read_image_file(file: Path) -> bytes | None:
    """Content of a file; None if it is too large for an image, is no regular file or cannot be read."""
    try:
        # A file that is replaced by a link or a pipe meanwhile is not followed, and nobody waits for it.
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as content:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_IMAGE_BYTES:
            return None
        return content.read(MAX_IMAGE_BYTES)


def _file_below(folder: Path, reference: str) -> Path | None:
    """The file that a relative name leads to, links resolved; None if there is none below the folder."""
    name = Path(reference)
    if name.is_absolute() or ".." in name.parts:
        return None
    try:
        resolved_folder = folder.resolve()
        file = (resolved_folder / name).resolve()
        is_below = file.is_relative_to(resolved_folder) and file.is_file()
    except (OSError, ValueError, RuntimeError):  # a name that no file system takes, or links in a circle
        return None
    return file if is_below else None
