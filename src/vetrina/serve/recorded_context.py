"""What the ledger said while an answer was made: kept beside the answer, so that it can be given again."""

from collections.abc import Mapping
from typing import Any

from vetrina.core.protocols import EmptySpendLedger, SpendLedger

_UNPACED = (1.0, 1.0)


class RecordingLedger:
    """A ledger that remembers what it was asked and said."""

    def __init__(self, ledger: SpendLedger) -> None:
        self._ledger = ledger
        self._spent: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._paces: dict[str, tuple[float, float]] = {}
        self._corrections: dict[str, float] = {}

    def daily_spend(self, campaign: str, now: float) -> float:
        """As the ledger."""
        return self._spent.setdefault(campaign, self._ledger.daily_spend(campaign, now))

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """As the ledger; an answer is for one person."""
        found = self._ledger.daily_impressions(user_or_session, now)
        self._seen |= found
        return found

    def pacing(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """As the ledger."""
        return self._paces.setdefault(campaign, self._ledger.pacing(campaign, budget, now))

    def click_correction(self, ad: str, now: float) -> float:
        """As the ledger."""
        return self._corrections.setdefault(ad, self._ledger.click_correction(ad, now))

    def recording(self) -> dict[str, Mapping[str, Any]]:
        """What differs from a ledger in which nothing has happened."""
        found = {
            "spent": {c: s for c, s in self._spent.items() if s},
            "seen": {a: n for a, n in self._seen.items() if n},
            "paces": {c: p for c, p in self._paces.items() if p != _UNPACED},
            "corrections": {a: c for a, c in self._corrections.items() if c != 1.0},
        }
        return {name: said for name, said in found.items() if said}


class ReplayLedger(EmptySpendLedger):
    """Says again what ``Heard.told`` kept."""

    def __init__(self, recording: Mapping[str, Mapping[str, Any]]) -> None:
        self._recording = recording

    def daily_spend(self, campaign: str, now: float) -> float:
        """As it was."""
        return float(self._recorded("spent").get(campaign, 0.0))

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """As it was."""
        return self._recorded("seen")

    def pacing(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """As it was."""
        multiplier, share = self._recorded("paces").get(campaign, _UNPACED)
        return float(multiplier), float(share)

    def click_correction(self, ad: str, now: float) -> float:
        """As it was."""
        return float(self._recorded("corrections").get(ad, 1.0))

    def _recorded(self, what: str) -> Mapping[str, Any]:
        return self._recording.get(what, {})
