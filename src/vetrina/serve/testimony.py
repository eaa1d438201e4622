"""What the ledger said while an answer was made: kept beside the answer, so that it can be given again."""

from collections.abc import Mapping
from typing import Any

from vetrina.core.protocols import SpendLedger, Unspent

_ALL = (1.0, 1.0)


class Heard:
    """A ledger that remembers what it was asked and said."""

    def __init__(self, ledger: SpendLedger) -> None:
        self._ledger = ledger
        self._spent: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._paces: dict[str, tuple[float, float]] = {}
        self._corrections: dict[str, float] = {}

    def spent(self, campaign: str, now: float) -> float:
        """As the ledger."""
        return self._spent.setdefault(campaign, self._ledger.spent(campaign, now))

    def seen(self, person: str, now: float) -> Mapping[str, int]:
        """As the ledger; an answer is for one person."""
        found = self._ledger.seen(person, now)
        self._seen |= found
        return found

    def pace(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """As the ledger."""
        return self._paces.setdefault(campaign, self._ledger.pace(campaign, budget, now))

    def correction(self, ad: str, now: float) -> float:
        """As the ledger."""
        return self._corrections.setdefault(ad, self._ledger.correction(ad, now))

    def told(self) -> dict[str, Mapping[str, Any]]:
        """What differs from a ledger in which nothing has happened."""
        found = {
            "spent": {c: s for c, s in self._spent.items() if s},
            "seen": {a: n for a, n in self._seen.items() if n},
            "paces": {c: p for c, p in self._paces.items() if p != _ALL},
            "corrections": {a: c for a, c in self._corrections.items() if c != 1.0},
        }
        return {name: said for name, said in found.items() if said}


class Retold(Unspent):
    """Says again what ``Heard.told`` kept."""

    def __init__(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        self._told = told

    def spent(self, campaign: str, now: float) -> float:
        """As it was."""
        return float(self._of("spent").get(campaign, 0.0))

    def seen(self, person: str, now: float) -> Mapping[str, int]:
        """As it was."""
        return self._of("seen")

    def pace(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """As it was."""
        multiplier, share = self._of("paces").get(campaign, _ALL)
        return float(multiplier), float(share)

    def correction(self, ad: str, now: float) -> float:
        """As it was."""
        return float(self._of("corrections").get(ad, 1.0))

    def _of(self, what: str) -> Mapping[str, Any]:
        return self._told.get(what, {})
