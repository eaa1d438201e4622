"""Image decoding and normalisation, one code for training and serving. NumPy alone; Pillow runs in a child process."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Floats
from vetrina.models.image.decoder_process import REQUEST

Pixels = NDArray[np.uint8]
_MEAN = 127.0  # of 0 to 255, as EfficientNet-Lite was trained (Google, EfficientNet-Lite, 2020)
_SPREAD = 128.0
_MAX_SECONDS = 30.0  # of one image, on a busy machine
_CHILD = (sys.executable, "-P", "-m", "vetrina.models.image.decoder_process")
# What a child may know of the environment, which may hold passwords.
_CHILD_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def decode_images(contents: Iterable[bytes | None], size: int) -> Iterator[Pixels | None]:
    """Pixels (size, size, 3) of encoded images, each stretched to a square; None for one that cannot be decoded.

    JPEG, PNG, WebP and GIF of at most 16 megapixels are decoded, by a child process with limited memory and time. An image that
    ends the process costs that image.

    Args:
        contents: Encoded images; None where there is none.
        size: Pixels of a side.
    """
    decoder = _Decoder(size)
    try:
        for content in contents:
            yield None if content is None else decoder.decode(content)
    finally:
        decoder.stop()


def normalised(pixels: Pixels | Sequence[Pixels]) -> Floats:
    """Images (n, size, size, 3) as float32 (n, 3, size, size) between -1 and 1, a view of memory with channels last."""
    stacked = np.ascontiguousarray(pixels).astype(np.float32)
    return ((stacked - _MEAN) / _SPREAD).transpose(0, 3, 1, 2)


class _Decoder:
    """The child process, started when it is first needed and again after it died."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, content: bytes) -> Pixels | None:
        """Pixels of an image; None if the process refuses it or dies of it."""
        process = self._process or self._start()
        timer = threading.Timer(_MAX_SECONDS, process.kill)
        timer.start()
        try:
            return self._ask(process, content)
        except (OSError, EOFError):
            self.stop()
            return None
        finally:
            timer.cancel()

    def stop(self) -> None:
        """End the process, if there is one."""
        process = self._process
        if process is None:
            return
        self._process = None
        process.kill()
        with suppress(BrokenPipeError):  # a request that it did not read any more cannot be flushed
            process.__exit__(None, None, None)  # closes the pipes and waits

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = {name: os.environ[name] for name in _CHILD_ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            _CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        return self._process

    def _ask(self, process: "subprocess.Popen[bytes]", content: bytes) -> Pixels | None:
        """One request and its answer. Raises EOFError or OSError where the process has ended."""
        if process.stdin is None or process.stdout is None:
            raise EOFError
        process.stdin.write(REQUEST.pack(len(content), self._size) + content)
        process.stdin.flush()
        status = process.stdout.read(1)
        if not status:
            raise EOFError
        if not status[0]:
            return None
        pixels = process.stdout.read(3 * self._size * self._size)
        if len(pixels) < 3 * self._size * self._size:
            raise EOFError
        return np.frombuffer(pixels, np.uint8).reshape(self._size, self._size, 3)
