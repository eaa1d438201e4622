"""Encryption and decryption of files with age, streamed.

Keys are texts here, as age writes them: a public key (recipient, ``age1...``) encrypts, its private key (identity,
``AGE-SECRET-KEY-1...``) opens. What age makes of a stream is a stream again, so that memory is bounded however long it is.
"""

# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportInvalidTypeForm=false
# ... of ``pyrage``, which is compiled and declares no types.

import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import pyrage
from pyrage import x25519

from vetrina.core.errors import BadInput
from vetrina.core.files import create_file

AGE_PREFIX = b"age-encryption.org/"  # first bytes of an encrypted file


def load_identities(file: Path) -> list[str]:
    """The private keys of an identity file, as age-keygen and ``vetrina backup-key`` write it. Raises BadInput."""
    way_out = "give the file that `vetrina backup-key FILE` wrote"
    try:
        lines = file.read_text("utf-8").splitlines()
        secrets = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        for secret in secrets:
            x25519.Identity.from_str(secret)
    except (pyrage.IdentityError, UnicodeDecodeError):
        raise BadInput(str(file), "holds no private key of age (AGE-SECRET-KEY-1...)", way_out) from None
    if not secrets:
        raise BadInput(str(file), "holds no private key of age (AGE-SECRET-KEY-1...)", way_out)
    return secrets


def create_identity_file(file: Path) -> str:
    """Write a new private key to a new file of its owner's alone, as age-keygen does; returns the public key. Raises BadInput."""
    exists_already = BadInput(
        str(file), "exists already", "name another file; without a private key its backups are lost"
    )
    if file.exists():
        raise exists_already
    identity, recipient = new_key_pair()
    create_file(file, f"# public key: {recipient}\n{identity}\n".encode())
    if load_identities(file) != [identity]:  # another process was first: the public key would be that of a lost one
        raise exists_already
    return recipient


def new_key_pair() -> tuple[str, str]:
    """A new private key, and its public key."""
    identity = x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def _parse_recipient(text: str) -> x25519.Recipient:
    try:
        return x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        way_out = "give the line that `vetrina backup-key FILE` printed"
        raise BadInput(f"recipient {text!r}", "is no public key of age (age1...)", way_out) from None


class _Stream(Protocol):
    """What age reads from or writes to."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        ...

    def write(self, content: bytes, /) -> int:
        """Write all of the bytes."""
        ...

    def flush(self) -> None:
        """Write what is buffered."""
        ...


class _Watched:
    """A stream that keeps its own error: age reports any error of a stream as one of its own, without the number."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def read(self, size: int, /) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            self.error = error
            raise

    def write(self, content: bytes, /) -> int:
        try:
            return self._stream.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._stream.flush()


class _AgeThread(threading.Thread):
    """Encrypts or decrypts from one stream into another one beside the thread that reads or writes the archive.

    Args:
        work: The function of ``pyrage``, its last argument given.
        source: Where it reads.
        target: Where it writes.
        pipe_end: The one of both that is closed when the work ends, so that the other thread ends, too.
    """

    def __init__(
        self, work: Callable[[_Stream, _Stream], object], source: IO[bytes], target: IO[bytes], pipe_end: IO[bytes]
    ) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._source = _Watched(source)
        self._target = _Watched(target)
        self._pipe_end = pipe_end
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._work(self._source, self._target)
        except (OSError, pyrage.EncryptError, pyrage.DecryptError) as error:
            self.error = self._source.error or self._target.error or error
        finally:
            try:
                self._pipe_end.close()  # flushes what the pipe's buffer holds
            except BrokenPipeError as error:
                self.error = self.error or error


@contextmanager
def encrypted(target: IO[bytes], recipients: Sequence[str]) -> Generator[IO[bytes]]:
    """A stream whose content arrives encrypted in ``target``."""
    if not recipients:
        yield target
        return

    public_keys = [_parse_recipient(recipient) for recipient in recipients]

    def encrypt(source: _Stream, encrypted: _Stream) -> None:
        pyrage.encrypt_io(source, encrypted, public_keys)

    read_end, write_end = os.pipe()
    source = os.fdopen(read_end, "rb")
    thread = _AgeThread(encrypt, source, target, source)
    thread.start()
    try:
        with os.fdopen(write_end, "wb") as sink:
            yield sink
    except BrokenPipeError:
        thread.join()
        if thread.error is not None:
            raise thread.error from None
        raise
    finally:
        thread.join()
    if thread.error is not None:
        raise thread.error


@contextmanager
def decrypted(
    source: IO[bytes], identities: Sequence[str], damaged: Callable[[], BadInput], name: str
) -> Generator[IO[bytes]]:
    """A stream of the plain content of ``source``.

    Args:
        source: An encrypted file.
        identities: Private keys, one of which opens it.
        damaged: Makes the error of a file that is not as it was written.
        name: Name of the file, for errors.

    Raises:
        BadInput: None of the keys opens it, or it was cut off or changed. The latter is known at the end only.
    """

    private_keys = [x25519.Identity.from_str(identity) for identity in identities]

    def decrypt(encrypted: _Stream, plain: _Stream) -> None:
        pyrage.decrypt_io(encrypted, plain, private_keys)

    read_end, write_end = os.pipe()
    target = os.fdopen(write_end, "wb")
    thread = _AgeThread(decrypt, source, target, target)
    thread.start()
    try:
        with os.fdopen(read_end, "rb") as plain:
            yield plain
    except BadInput:
        # A stream that ends early looks like a damaged archive; the thread knows why it ended.
        thread.join()
        _raise_decryption_error(thread.error, damaged, name)
        raise
    finally:
        thread.join()
    _raise_decryption_error(thread.error, damaged, name)


def _raise_decryption_error(error: Exception | None, damaged: Callable[[], BadInput], name: str) -> None:
    if error is None or isinstance(error, BrokenPipeError):  # the reader ended first
        return
    if isinstance(error, pyrage.DecryptError) and "No matching keys" in str(error):
        raise BadInput(name, "is not encrypted to this private key", "give the identity that it was made for") from None
    if isinstance(error, OSError) and error.errno is not None:  # of the disk
        raise error
    raise damaged() from None
