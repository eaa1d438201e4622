"""Local engine: everything is computed in this process, when its result is needed."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from vetrina.engines.engine import Item, Result, State, TrainingLoop

if TYPE_CHECKING:
    from torch import Tensor


class LocalWorker:
    """The only worker. It is not restarted, so it keeps no checkpoints, and its random numbers go on from epoch to epoch."""

    rank = 0
    world_size = 1

    def __init__(self, advance: Callable[[float], object]) -> None:
        self._advance = advance

    def all_reduce(self, values: "Tensor") -> None:
        """Nothing: the values are the sums."""

    def start_epoch(self, seed: int) -> None:
        """Nothing."""

    def advance(self, amount: float) -> None:
        """Report progress, in epochs."""
        self._advance(amount)

    def save_checkpoint(self, state: State) -> None:
        """Nothing."""

    def load_checkpoint(self) -> State | None:
        """None."""
        return None


class LocalEngine:
    """``Engine`` in this process."""

    n_workers = 1

    def train(self, loop: TrainingLoop, advance: Callable[[float], object]) -> State:
        """What the loop returns."""
        return loop(LocalWorker(advance))

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """The function's results, each computed when it is taken."""
        return map(function, items)

    def start_on_workers(self, function: Callable[[Item], Iterator[Result]]) -> Callable[[Item], Iterator[Result]]:
        """The function itself."""
        return function
