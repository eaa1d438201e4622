"""Engines: where networks are trained, catalogues embedded, trials evaluated and files of requests answered.

The local engine works in this process, Ray's on the processes of a cluster. Both run the same functions on the same batches.
It knows no model and no scenario.
"""

import importlib.util
import os
import secrets
import socket
from functools import lru_cache
from importlib import metadata

from vetrina.core.errors import BadInput
from vetrina.core.training_plan import Compute
from vetrina.engines.engine import Engine, TrainingWorker
from vetrina.engines.local import LocalEngine

__all__ = ["Engine", "TrainingWorker", "check_compute", "find_engine"]

_MIN_RAY_VERSION = (2, 55)
_CONNECT_SECONDS = 5.0
_DEFAULT_RAY_PORT = 6379
_TOKEN_BYTES = 32
_RAY_SETTING = '[train] engine = "ray"'


def find_engine(compute: Compute, threads: int) -> Engine:
    """The engine that a plan names; Ray is started, or connected to, once a process.

    Args:
        compute: Engine, number of workers, address of the cluster.
        threads: Threads of each worker.

    Raises:
        BadInput: Ray is not installed, or its cluster cannot be used.
    """
    if compute.engine == "local":
        return LocalEngine()
    check_compute(compute)
    return _ray_engine(compute, threads)


def check_compute(compute: Compute) -> None:
    """Raises BadInput where a GPU, Ray or its cluster is asked for and is not there; starts nothing."""
    if compute.engine == "ray":
        _check_installation()
        _check_reachable(_ray_address(compute))
    elif compute.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            rule = f"there is no GPU that torch {torch.__version__} can use"
            raise BadInput('[train] device = "cuda"', rule, 'write "auto" or "cpu", or install torch for CUDA')


@lru_cache(maxsize=1)
def _ray_engine(compute: Compute, threads: int) -> Engine:
    address = _ray_address(compute)
    if not address:
        # Read when Ray is imported. On Linux, too, it makes 127.0.0.1 the address of a cluster of one machine.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        _require_token()
    from vetrina.engines.ray_engine import RayEngine

    return RayEngine(compute, threads, address)


def _require_token() -> None:
    """Let nobody else on this machine use the cluster that is started: before 2.59, Ray requires no token by itself."""
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(_TOKEN_BYTES))


def _ray_address(compute: Compute) -> str:
    """Address of the cluster by the settings or by Ray's own variable; empty to start one on this machine."""
    return compute.address or os.environ.get("RAY_ADDRESS", "")


def _check_installation() -> None:
    if importlib.util.find_spec("ray") is None:
        raise BadInput(
            _RAY_SETTING, "Ray is not installed here", "pip install 'vetrina[ray]', or use engine = \"local\""
        )
    version = metadata.version("ray")
    major, minor = version.split(".")[:2]
    if (int(major), int(minor)) < _MIN_RAY_VERSION:
        rule = f"Ray {version} is too old"
        raise BadInput(_RAY_SETTING, rule, "pip install 'vetrina[ray]' here and on the machines of the cluster")


def _check_reachable(address: str) -> None:
    """Raises BadInput where nothing answers at the address of a cluster."""
    if address in ("", "auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS):
            return
    except ValueError:
        raise BadInput(
            f"ray_address {address!r}", "is not HOST:PORT", f"Ray's own port is {_DEFAULT_RAY_PORT}"
        ) from None
    except OSError as error:
        rule = f"no Ray cluster answers there ({error.strerror or error})"
        raise BadInput(
            f"ray_address {address!r}", rule, "start it with `ray start --head`, or leave the address out"
        ) from None
