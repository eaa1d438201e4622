"""Write beside, then rename: a reader never sees half a file, whatever happens to the writer."""

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
    """Yield a temporary path in the same folder; rename it onto ``path`` on success, remove it otherwise."""
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
    """The same for a folder. A ``path`` that exists already (equal content, by its name) is kept."""
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
    """Be the only process that changes ``folder``; the lock goes with the process, however it ends. Raises Conflict."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            way_out = "wait until it ends, then repeat"
            raise Conflict(str(folder), "is being changed by another vetrina process", way_out) from None
        yield


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data`` in one step."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
        temporary.chmod(mode)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the sorted (name, digest) lines of a folder."""
    if path.is_dir():
        lines = [f"{f.relative_to(path)} {digest_of(f)}\n" for f in sorted(path.rglob("*")) if f.is_file()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    return path.stat().st_size


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_error(path: Path, error: OSError) -> BadInput:
    return BadInput(
        str(path), f"cannot be written ({error.strerror or error})", "free space or rights there, then repeat"
    )
