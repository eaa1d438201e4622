"""Set of the most recently used keys, of bounded size."""

from collections import OrderedDict
from collections.abc import Hashable


class RecentKeys:
    """A set that forgets the keys that were not used for longest."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._keys: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        if key not in self._keys:
            return False
        self._keys.move_to_end(key)
        return True

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Hashable) -> None:
        """Add a key, or mark it as used."""
        self._keys[key] = None
        self._keys.move_to_end(key)
        if len(self._keys) > self._max_size:
            self._keys.popitem(last=False)
