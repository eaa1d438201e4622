"""Interface of engines."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")
State = Mapping[str, Any]  # tensors, numbers, texts, and lists and mappings of them


class TrainingWorker(Protocol):
    """One of the processes that train a network together: each computes the gradients of its part of every batch.

    ``rank`` is its number from 0, ``world_size`` the number of processes.
    """

    rank: int
    world_size: int

    def all_reduce(self, values: "Tensor") -> None:
        """Replace values by their sums over all workers, in place."""
        ...

    def start_epoch(self, seed: int) -> None:
        """Called before each epoch with a seed of its own, so that a restarted worker draws what the lost one drew."""
        ...

    def advance(self, amount: float) -> None:
        """Report progress, in epochs."""
        ...

    def save_checkpoint(self, state: State) -> None:
        """Keep the state after an epoch; every worker calls it, and that of rank 0 is kept."""
        ...

    def load_checkpoint(self) -> State | None:
        """The newest state that was kept where workers were restarted; None at the first start."""
        ...


TrainingLoop = Callable[[TrainingWorker], State]


class Engine(Protocol):
    """Where work is computed. Functions and items must be picklable, and functions must not depend on the process.

    ``n_workers`` is how many things are computed at once.
    """

    n_workers: int

    def train(self, loop: TrainingLoop, advance: Callable[[float], object]) -> State:
        """Run a training loop on every worker; what rank 0 returns.

        Args:
            loop: The training loop.
            advance: Called with progress where the loop runs in this process.
        """
        ...

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Results of a function in the order of the items. A worker loads the function once and gets many items."""
        ...

    def start_on_workers(self, function: Callable[[Item], Iterator[Result]]) -> Callable[[Item], Iterator[Result]]:
        """The generator function, each of whose generators runs on a worker of its own from the call on.

        Closing a generator ends its work.
        """
        ...
