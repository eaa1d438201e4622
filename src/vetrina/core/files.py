"""Atomic writes, exclusive locks and digests of files and folders.

A file is written under a temporary name and renamed: a reader never sees half of it, even if the writer is killed.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

from vetrina.core.errors import BadInput, Conflict

# Modes of what belongs to a shop: its owner's alone.
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
_OTHERS = 0o077  # what group and others may do
_REMOVED_PREFIX = ".removed-"  # of folders that are being removed


@contextlib.contextmanager
def atomic_write(path: Path) -> Generator[Path]:
    """Yield a temporary path in the same folder; rename it to ``path`` on success, remove it otherwise.

    Raises BadInput if the disk cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path, is_complete: Callable[[Path], bool] = Path.is_dir) -> Generator[Path]:
    """Yield a temporary folder; rename it to ``path`` on success, remove it otherwise.

    Args:
        path: The folder. One that exists is left as it is: such folders are named by their content.
        is_complete: Tells of one that exists whether it holds everything; otherwise it is replaced.

    Raises:
        BadInput: The disk cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        if path.exists() and not is_complete(path):
            remove_folder(path)
        if not path.exists():
            for file in (*temporary.rglob("*"), temporary):
                fsync(file)
            temporary.rename(path)
            fsync(path.parent)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder. It is renamed first: if the process is killed, no half of it is left under its name."""
    renamed = Path(tempfile.mkdtemp(prefix=_REMOVED_PREFIX, dir=path.parent))
    path.rename(renamed)
    shutil.rmtree(renamed)


def remove_leftovers(parent: Path) -> None:
    """Remove what ``remove_folder`` left in ``parent`` when its process was killed."""
    for renamed in parent.glob(f"{_REMOVED_PREFIX}*"):
        shutil.rmtree(renamed)


@contextlib.contextmanager
def exclusive_lock(folder: Path) -> Generator[None]:
    """Hold the only lock on ``folder``. The lock ends with the process, even if it is killed. Raises Conflict."""
    with _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield


@contextlib.contextmanager
def shared_lock(folder: Path) -> Generator[None]:
    """Hold a lock on ``folder`` beside other shared ones, but beside no exclusive one. Raises Conflict."""
    with _lock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB):
        yield


@contextlib.contextmanager
def waiting_shared_lock(folder: Path) -> Generator[None]:
    """Hold a lock on ``folder`` beside other shared ones, after waiting for whoever holds it exclusively."""
    with _lock(folder, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def waiting_lock(folder: Path) -> Generator[None]:
    """Hold the only lock on ``folder``, after waiting for whoever holds it."""
    with _lock(folder, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _lock(folder: Path, operation: int) -> Generator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, operation)
        except BlockingIOError:
            way_out = "wait until it ends, then repeat"
            raise Conflict(str(folder), "is being changed by another vetrina process", way_out) from None
        yield


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in one step, replacing an older file; it is its owner's alone."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def create_file(path: Path, data: bytes) -> None:
    """Write a file of its owner's alone unless it exists: what is there stays as it is."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # linking replaces nothing
            path.hardlink_to(temporary)
        fsync(path.parent)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def create_private(path: Path) -> None:
    """Create an empty file of its owner's alone, or take away other users' rights to one that exists."""
    if not path.exists():
        path.touch(PRIVATE_FILE)
    make_private(path)


def make_private(path: Path) -> bool:
    """Take away other users' rights to a file or folder. False if they stay, because it belongs to somebody else."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & _OTHERS:
        return True
    try:
        path.chmod(mode & ~_OTHERS)
    except OSError:
        return False
    return True


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


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_error(path: Path, error: OSError) -> BadInput:
    cause = error.strerror or error
    return BadInput(str(path), f"cannot be written ({cause})", "free space or rights there, then repeat")
