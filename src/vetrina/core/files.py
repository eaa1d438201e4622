"""Atomic writes, exclusive locks and digests of files and folders.

A file is written under a temporary name and renamed: a reader never sees half of it, even if the writer is killed.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vetrina.core.errors import BadInput, Conflict


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to ``path`` on success, remove it otherwise.

    Raises BadInput if the disk cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; rename it to ``path`` on success, remove it otherwise.

    An existing ``path`` is left as it is: such folders are named by their content. Raises BadInput if the disk cannot be
    written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if not path.exists():
            for file in temporary.rglob("*"):
                _fsync(file)
            temporary.rename(path)
            _fsync(path.parent)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the only lock on ``folder``. The lock ends with the process, even if it is killed. Raises Conflict."""
    with _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield


@contextlib.contextmanager
def shared_lock(folder: Path) -> Iterator[None]:
    """Hold a lock on ``folder`` beside other shared ones, but beside no exclusive one. Raises Conflict."""
    with _lock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB):
        yield


@contextlib.contextmanager
def waiting_lock(folder: Path) -> Iterator[None]:
    """Hold the only lock on ``folder``, after waiting for whoever holds it."""
    with _lock(folder, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _lock(folder: Path, operation: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, operation)
        except BlockingIOError:
            way_out = "wait until it ends, then repeat"
            raise Conflict(str(folder), "is being changed by another vetrina process", way_out) from None
        yield


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` in one step, replacing an older file.

    Args:
        path: The file.
        data: Its new content.
        mode: Its permissions.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
        temporary.chmod(mode)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the sorted "name digest" lines of a folder, in hex."""
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        lines = [f"{file.relative_to(path)} {digest_of(file)}\n" for file in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_error(path: Path, error: OSError) -> BadInput:
    cause = error.strerror or error
    return BadInput(str(path), f"cannot be written ({cause})", "free space or rights there, then repeat")
