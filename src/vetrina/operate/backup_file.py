"""Backup files: a tar archive, compressed with Zstandard and encrypted with age.

The first entry is ``header.json``: a file of a later format is refused before anything else is read. The last entries are
``manifest.json``, which lists size and SHA-256 of every entry before it, and ``signature``, by the shop's signing key: whoever
knows only the public key of the encryption can write such a file, but none that is taken for the shop's. Hard links to one file
are stored once. Everything is streamed, so memory does not grow with the shop.
"""

import io
import sys
import tarfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Protocol

import msgspec

from vetrina.core.errors import BadInput
from vetrina.core.files import PRIVATE_FILE
from vetrina.operate.age import AGE_PREFIX, decrypted, encrypted

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMAT = 1  # raised whenever a file could not be read by the version before
HEADER = "header.json"
MANIFEST = "manifest.json"
SIGNATURE = "signature"
_COMPRESSION_LEVEL = 3  # most of a shop is compressed already
_COPY_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 16
_MAX_MANIFEST_BYTES = 1 << 14  # for each entry: its name is 4 KiB long at most
_ZSTD_PREFIX = b"\x28\xb5\x2f\xfd"
_DAMAGED = "is cut off, or was changed after it was written"
_ANOTHER_BACKUP = "take another backup; this one cannot be restored"


class BackupHeader(msgspec.Struct, frozen=True):
    """First entry of a backup.

    Attributes:
        format: Number of the format.
        kind: "shop", or "keys" for the keys of a shop alone.
        vetrina: Version of Vetrina that wrote it.
        schema: Schema of the store; 0 for keys.
        time: The moment that the backup shows, in seconds since 1970.
        keys: Fingerprint of the shop's keys.
    """

    format: int
    kind: str
    vetrina: str
    schema: int
    time: float
    keys: str


class ManifestEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of a backup: a file with its size and SHA-256, or a link to an earlier entry."""

    name: str
    size: int = 0
    sha256: str = ""
    link: str = ""


class BackupWriter:
    """Writes entries to an open archive."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._entries: list[ManifestEntry] = []
        self._name_of_inode: dict[tuple[int, int], str] = {}

    def add_bytes(self, name: str, content: bytes) -> None:
        """Add an entry with this content."""
        self._add(_tar_info(name, len(content)), io.BytesIO(content))

    def add_file(self, name: str, file: Path) -> None:
        """Add a file that nobody changes meanwhile; a second name of the same file becomes a link."""
        status = file.stat()
        inode = (status.st_dev, status.st_ino)
        linked_name = self._name_of_inode.get(inode)
        if linked_name is not None:
            info = _tar_info(name, 0)
            info.type = tarfile.LNKTYPE
            info.linkname = linked_name
            self._archive.addfile(info)
            _forget_entries(self._archive)
            self._entries.append(ManifestEntry(name, link=linked_name))
            return
        self._name_of_inode[inode] = name
        info = _tar_info(name, status.st_size)
        info.mtime = int(status.st_mtime)  # the lake's retention counts from it
        with file.open("rb") as content:
            self._add(info, content)

    def finish(self, sign: Callable[[bytes], str]) -> int:
        """Add manifest and signature; returns the bytes of all entries."""
        manifest = msgspec.json.encode(self._entries)
        for name, content in ((MANIFEST, manifest), (SIGNATURE, sign(manifest).encode())):
            self._archive.addfile(_tar_info(name, len(content)), io.BytesIO(content))
        return sum(entry.size for entry in self._entries)

    def _add(self, info: tarfile.TarInfo, content: IO[bytes]) -> None:
        hashed = _HashingReader(content)
        self._archive.addfile(info, hashed)
        _forget_entries(self._archive)
        self._entries.append(ManifestEntry(info.name, info.size, hashed.digest()))


@dataclass(frozen=True)
class BackupEntry:
    """An entry while it is read: its content can be copied once, before the next entry is read."""

    name: str
    modified_at: float
    link: str
    content: "Readable"


class BackupReader:
    """Reads the entries of an open archive in their order, and compares them with the manifest at the end.

    Args:
        archive: The archive.
        shown_name: Name of the file, for errors.
    """

    def __init__(self, archive: tarfile.TarFile, shown_name: str) -> None:
        self._archive = archive
        self._shown_name = shown_name
        self._entries: list[ManifestEntry] = []
        self._manifest = b""
        self._signature = ""
        self.header = self._read_header()

    def entries(self) -> Iterator[BackupEntry]:
        """All entries between header and manifest. Raises BadInput where one differs from the manifest, or the end is missing.

        What was read of an entry that the caller did not copy is read and hashed, too.
        """
        while (info := self._next()) is not None:
            if info.name == MANIFEST:
                self._manifest = self._read_all(info, _MAX_MANIFEST_BYTES * (len(self._entries) + 1))
            elif info.name == SIGNATURE:
                self._signature = self._read_all(info, _MAX_HEADER_BYTES).decode(errors="replace")
            else:
                yield from self._read_entry(info)
        try:
            listed_entries = msgspec.json.decode(self._manifest, type=list[ManifestEntry])
        except msgspec.MsgspecError:
            raise damaged(self._shown_name) from None
        if listed_entries != self._entries or not self._signature:
            raise damaged(self._shown_name)

    def signed_manifest(self) -> tuple[bytes, str]:
        """Manifest and signature, after the last entry."""
        return self._manifest, self._signature

    @property
    def size(self) -> int:
        """Bytes of the entries that were read."""
        return sum(entry.size for entry in self._entries)

    @property
    def n_entries(self) -> int:
        """Number of the entries that were read."""
        return len(self._entries)

    def _next(self) -> tarfile.TarInfo | None:
        _forget_entries(self._archive)
        return self._archive.next()

    def _read_header(self) -> BackupHeader:
        info = self._next()
        if info is None or info.name != HEADER:
            raise not_a_backup(self._shown_name)
        content = self._read_all(info, _MAX_HEADER_BYTES)
        self._entries.append(ManifestEntry(info.name, info.size, sha256(content).hexdigest()))
        try:
            written_format = msgspec.json.decode(content)["format"]
            if written_format > FORMAT:
                rule = f"was made by a later Vetrina (format {written_format}; this one reads {FORMAT})"
                raise BadInput(self._shown_name, rule, "upgrade Vetrina on this machine, then repeat")
            return msgspec.json.decode(content, type=BackupHeader)
        except (msgspec.MsgspecError, KeyError, TypeError):
            raise not_a_backup(self._shown_name) from None

    def _read_all(self, info: tarfile.TarInfo, max_bytes: int) -> bytes:
        """The content of an entry. Raises BadInput for one that no backup has: it would expand until memory is full."""
        if info.size > max_bytes:
            raise damaged(self._shown_name)
        content = self._archive.extractfile(info)
        return b"" if content is None else content.read()

    def _read_entry(self, info: tarfile.TarInfo) -> Iterator[BackupEntry]:
        if info.islnk():
            self._entries.append(ManifestEntry(info.name, link=info.linkname))
            yield BackupEntry(info.name, info.mtime, info.linkname, io.BytesIO())
            return
        raw = self._archive.extractfile(info)
        if raw is None:
            raise damaged(self._shown_name)
        content = _HashingReader(raw)
        yield BackupEntry(info.name, info.mtime, "", content)
        copy_content(content, None)
        self._entries.append(ManifestEntry(info.name, info.size, content.digest()))


class Readable(Protocol):
    """What can be read in pieces."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most ``size`` of them; none at the end."""
        ...


class _HashingReader:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._hash = sha256()

    def read(self, size: int = -1, /) -> bytes:
        content = self._stream.read(size)
        self._hash.update(content)
        return content

    def digest(self) -> str:
        """SHA-256 of what was read, in hex."""
        return self._hash.hexdigest()


def copy_content(content: Readable, target: IO[bytes] | None) -> None:
    """Copy what is left of a stream; without a target it is only read."""
    while chunk := content.read(_COPY_BYTES):
        if target is not None:
            target.write(chunk)


@contextmanager
def write_backup_file(file: Path, recipients: Sequence[str]) -> Generator[BackupWriter]:
    """Write a backup to a file that exists; without recipients it is not encrypted.

    Args:
        file: The file, which is overwritten.
        recipients: Public keys; each of their identities alone opens the file.
    """
    with (
        file.open("wb") as target,
        encrypted(target, recipients) as sink,
        zstd.ZstdFile(sink, "wb", level=_COMPRESSION_LEVEL) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        yield BackupWriter(archive)


@contextmanager
def read_backup_file(file: Path, identities: Sequence[str], shown_name: str = "") -> Generator[BackupReader]:
    """Read a backup. The caller reads it to the end: only then it is known to be whole.

    Args:
        file: The file.
        identities: Private keys, one of which opens it.
        shown_name: Its name in errors, if it is another one.

    Raises:
        BadInput: The file is no backup, or cannot be opened with these identities, or was cut off or changed.
    """
    name = shown_name or str(file)
    refuse_missing(file)
    with file.open("rb") as source:
        prefix = source.peek(len(AGE_PREFIX))
        if prefix.startswith(AGE_PREFIX):
            if not identities:
                raise BadInput(name, "is encrypted", "name the file of its private key with --identity")
            with decrypted(source, identities, lambda: damaged(name), name) as plain:
                yield from _read_plain(plain, name)
        elif prefix.startswith(_ZSTD_PREFIX):
            yield from _read_plain(source, name)
        else:
            raise not_a_backup(name)


def damaged(name: str) -> BadInput:
    """The error of a file that is not as it was written."""
    return BadInput(name, _DAMAGED, _ANOTHER_BACKUP)


def not_a_backup(name: str) -> BadInput:
    """The error of a file of another kind."""
    return BadInput(name, "is no backup of a shop", "give a file that `vetrina backup` wrote")


def refuse_missing(file: Path) -> None:
    """Raise BadInput if there is no such file."""
    if not file.is_file():
        raise BadInput(str(file), "is no file", "check the name")


def _read_plain(stream: IO[bytes], name: str) -> Iterator[BackupReader]:
    try:
        with (
            zstd.ZstdFile(stream, "rb") as plain,
            tarfile.open(fileobj=plain, mode="r|") as archive,
        ):
            yield BackupReader(archive, name)
            copy_content(plain, None)  # so that the end of the encrypted stream is verified, too
    except (tarfile.TarError, zstd.ZstdError, EOFError):
        raise damaged(name) from None


def _forget_entries(archive: tarfile.TarFile) -> None:
    """Let an archive forget the entries it went by. It would keep all of them, and memory would grow with their number."""
    archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue] - public, but not declared


def _tar_info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = PRIVATE_FILE
    return info
