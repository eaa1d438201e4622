"""Ray engine: the processes of a Ray cluster (Moritz et al. 2018). The only module that imports Ray.

Networks are trained by Ray Train, batches are mapped by Ray Data, generators are Ray tasks. A process that is lost is started
again: a training goes on from its last epoch, a batch or a generator from its beginning.

Without an address a cluster of this machine is started, which ends with this process; it listens on the loopback interface only.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's own types are partial.

import atexit
import logging
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from vetrina.core.errors import BadInput, VetrinaError
from vetrina.core.files import PRIVATE_FOLDER
from vetrina.core.training_plan import Compute
from vetrina.engines.engine import Item, Result, State, TrainingLoop

# Ray reads these when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # who asked for no GPU sees none
# Workers wait with each checkpoint until their controller looks, and epochs may be shorter than Ray's 2 s.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")

import ray
import ray.data
import ray.exceptions
import ray.train
import ray.train.torch
from ray import cloudpickle
from ray.train import TrainingFailedError

if TYPE_CHECKING:
    from torch import Tensor

_MAX_FAILURES = 3  # of the workers of one training, or of one task
_BLOCKS_PER_WORKER = 16  # of a mapped sequence: a lost worker costs one block
_CHECKPOINT_FILE = "state.pt"
_RESULT_FILE = "result.pt"
_SHORT_FOLDER = "/tmp"  # noqa: S108 - a private folder in it; the paths of Ray's sockets must be short


class EngineFailed(VetrinaError):
    """The cluster could not finish the work."""


class RayEngine:
    """``Engine`` on a Ray cluster.

    Args:
        compute: Number of workers, device, folder for checkpoints.
        threads: Threads, and logical CPUs, of each worker.
        address: Address of the cluster; empty to start one on this machine.

    Raises:
        BadInput: The cluster cannot be connected to, or has too few CPUs or GPUs.
    """

    def __init__(self, compute: Compute, threads: int, address: str) -> None:
        self.n_workers = compute.workers
        self._threads = threads
        self._folder = compute.folder
        _connect(address, compute.workers * threads)
        n_cpus = _available("CPU")
        if n_cpus < compute.workers * threads:
            rule = f"with {threads} threads each need more than the {n_cpus:.0f} CPUs of the cluster"
            raise BadInput(f"[train] workers = {compute.workers}", rule, "use fewer workers or threads")
        n_gpus = _available("GPU")
        if compute.device == "cuda" and n_gpus < compute.workers:
            rule = f"needs a GPU for each of {compute.workers} workers, and the cluster has {n_gpus:.0f}"
            raise BadInput('[train] device = "cuda"', rule, 'use fewer workers, or write "auto" or "cpu"')
        # As ``nn.devices`` decides in each worker: tensors on the processor cannot be reduced by what GPUs use.
        wants_gpus = compute.device == "cuda" or (compute.device == "auto" and threads > 1)
        self._uses_gpus = wants_gpus and n_gpus >= compute.workers

    def train(self, loop: TrainingLoop, advance: Callable[[float], object]) -> State:
        """What the loop of rank 0 returns. Progress is not reported: the workers are in other processes.

        Raises:
            VetrinaError: What the loop raised, or EngineFailed where workers were lost too often.
        """
        from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig

        folder = self._folder or tempfile.gettempdir()
        Path(folder).mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        with tempfile.TemporaryDirectory(dir=folder) as storage:
            trainer = ray.train.torch.TorchTrainer(
                _train_on_worker,
                train_loop_config={"loop": ray.put(_pickle(loop))},
                scaling_config=ScalingConfig(
                    num_workers=self.n_workers,
                    use_gpu=self._uses_gpus,
                    resources_per_worker=self._resources_of_worker(),
                ),
                run_config=RunConfig(
                    name=uuid4().hex,
                    storage_path=storage,
                    failure_config=FailureConfig(max_failures=_MAX_FAILURES),
                    checkpoint_config=CheckpointConfig(num_to_keep=1),
                ),
            )
            try:
                result = trainer.fit()
            except TrainingFailedError as error:
                raise _cause_of(error) from None
            if result.checkpoint is None:
                raise EngineFailed("the Ray workers returned no result; repeat the run")
            with result.checkpoint.as_directory() as checkpoint_folder:
                return _load(Path(checkpoint_folder) / _RESULT_FILE)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results of a function in the order of the items, by a pool of actors that open the function once each.

        Raises:
            VetrinaError: What the function raised, or EngineFailed.
        """
        if not items:
            return
        rows = [{"item": pickle.dumps(item)} for item in items]
        n_blocks = min(len(rows), _BLOCKS_PER_WORKER * self.n_workers)
        dataset = ray.data.from_items(rows, override_num_blocks=n_blocks).map_batches(
            _Mapper,
            fn_constructor_args=(_pickle(function),),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=self.n_workers),
            num_cpus=self._threads,
        )
        try:
            for row in dataset.iter_rows():
                result = pickle.loads(row["result"])  # noqa: S301 - of our own actor
                if isinstance(result, VetrinaError):
                    raise result
                yield result
        except ray.exceptions.RayError as error:
            raise EngineFailed(_text_of(error)) from None

    def start_on_workers(self, function: Callable[[Item], Iterator[Result]]) -> Callable[[Item], Iterator[Result]]:
        """The generator function as Ray tasks; see ``Engine``."""
        function_reference = ray.put(_pickle(function))
        task: Any = _generate.options(num_cpus=self._threads)

        def start(item: Item) -> Iterator[Result]:
            return _take(task.remote(function_reference, item))

        return start

    def _resources_of_worker(self) -> dict[str, float]:
        resources = {"CPU": float(self._threads)}
        if self._uses_gpus:
            resources["GPU"] = 1.0
        return resources


class RayTrainingWorker:
    """``TrainingWorker`` in a process of Ray Train."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.world_size = context.get_world_size()

    def all_reduce(self, values: "Tensor") -> None:
        """Replace values by their sums over all workers, in place."""
        import torch.distributed

        torch.distributed.all_reduce(values)

    def start_epoch(self, seed: int) -> None:
        """Seed what is random in this worker's part of the network."""
        import torch

        torch.manual_seed(seed * self.world_size + self.rank)

    def advance(self, amount: float) -> None:
        """Nothing."""

    def save_checkpoint(self, state: State) -> None:
        """Keep the state after an epoch."""
        self._report(state, _CHECKPOINT_FILE)

    def load_checkpoint(self) -> State | None:
        """The newest state that was kept; None at the first start."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return _load(Path(folder) / _CHECKPOINT_FILE)

    def has_result(self) -> bool:
        """Whether the training was finished before this process was restarted."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return False
        with checkpoint.as_directory() as folder:
            return (Path(folder) / _RESULT_FILE).exists()

    def save_result(self, state: State) -> None:
        """Keep what the training loop returned."""
        self._report(state, _RESULT_FILE)

    def _report(self, state: State, file_name: str) -> None:
        import torch

        if self.rank:
            ray.train.report({})
            return
        with tempfile.TemporaryDirectory() as folder:
            torch.save(state, Path(folder) / file_name)
            ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))


class _Mapper:
    """Actor of a pool that maps batches; errors that Vetrina raises on purpose travel as results."""

    def __init__(self, pickled_function: bytes) -> None:
        self._function = pickle.loads(pickled_function)  # noqa: S301 - of our own driver

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (pickled_item,) = batch["item"]
        item = pickle.loads(pickled_item)  # noqa: S301 - of our own driver
        try:
            result = self._function(item)
        except VetrinaError as error:
            result = error
        return {"result": [pickle.dumps(result)]}


def _train_on_worker(config: dict[str, Any]) -> None:
    """What Ray Train runs in each process of a training."""
    loop: TrainingLoop = pickle.loads(ray.get(config["loop"]))  # noqa: S301 - of our own driver
    worker = RayTrainingWorker()
    if not worker.has_result():
        worker.save_result(loop(worker))


@ray.remote(num_returns="streaming", max_retries=_MAX_FAILURES)
def _generate(pickled_function: bytes, item: Any) -> Iterator[Any]:
    function = pickle.loads(pickled_function)  # noqa: S301 - of our own driver
    yield from function(item)


def _take(stream: Any) -> Iterator[Any]:
    """The results of a task that streams them. Closing the iterator cancels the task."""
    try:
        for reference in stream:
            yield ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, VetrinaError):
            raise error.cause from None
        raise EngineFailed(_text_of(error)) from None
    except ray.exceptions.RayError as error:
        raise EngineFailed(_text_of(error)) from None
    finally:
        ray.cancel(stream)


def _available(resource: str) -> float:
    """Number of CPUs or GPUs of the cluster."""
    return float(ray.cluster_resources().get(resource, 0.0))


def _connect(address: str, n_cpus: int) -> None:
    """Connect to a cluster, or start one, unless this process has one that suffices. Raises BadInput where that fails."""
    if ray.is_initialized():
        if address or _available("CPU") >= n_cpus:
            return
        ray.shutdown()
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in ("ray.data", "ray.train"):  # they log what they raise, with pages of tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _start_cluster(n_cpus)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        place = f"ray_address {address!r}" if address else "Ray cluster of this machine"
        way_out = "install the same Ray and Python on all machines, and check its address and token"
        raise BadInput(place, _text_of(error), way_out) from None
    data_context = ray.data.DataContext.get_current()
    data_context.enable_progress_bars = False
    data_context.execution_options.preserve_order = True


def _start_cluster(n_cpus: int) -> None:
    """Start a cluster of this machine, which ends with this process, in a private folder."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    folder = tempfile.mkdtemp(prefix="vetrina-ray-", dir=_SHORT_FOLDER)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    ray.init(
        address="local",
        num_cpus=n_cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=folder,
    )
    atexit.register(ray.shutdown)  # before its folder is removed


def _cause_of(error: TrainingFailedError) -> VetrinaError:
    """The error of a training loop that Vetrina raised on purpose, or one that names what happened."""
    failures: dict[int, BaseException] = getattr(error, "worker_failures", {})
    for failure in failures.values():
        cause = getattr(failure, "cause", failure)
        if isinstance(cause, VetrinaError):
            return cause
        return EngineFailed(_text_of(cause))
    return EngineFailed(_text_of(error))


def _text_of(error: BaseException) -> str:
    """Kind and last line of an error: Ray puts the traceback of a worker before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[-1:]])


def _pickle(value: object) -> bytes:
    """The value, with functions and classes that cannot be imported elsewhere."""
    content: bytes = cloudpickle.dumps(value)  # pyright: ignore[reportPrivateImportUsage]
    return content


def _load(file: Path) -> State:
    import torch

    return torch.load(file, map_location="cpu", weights_only=True)
