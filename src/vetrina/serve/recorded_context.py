"""Recorded context: a spend ledger that records its outputs, and one that replays them.

The recording is logged with the answer, so that the gate can replay the request with the budgets of that moment.
"""

from collections.abc import Mapping
from typing import Any

from vetrina.core.protocols import EmptySpendLedger, SpendLedger

LEDGER = "ledger"  # in the log of a request: the recording
OMITTED = "omitted"  # in the log of a request: the digest of fields that were too long to be logged
_NO_PACING = (1.0, 1.0)  # bid multiplier, participation share
_NO_CORRECTION = 1.0  # factor on the click probability


class RecordingLedger:
    """A spend ledger that records its outputs during one answer."""

    def __init__(self, ledger: SpendLedger) -> None:
        self._ledger = ledger
        self._spends: dict[str, float] = {}
        self._impressions: dict[str, int] = {}
        self._paces: dict[str, tuple[float, float]] = {}
        self._corrections: dict[str, float] = {}

    def daily_spend(self, campaign: str, now: float) -> float:
        """The first output of the ledger for a campaign."""
        return self._spends.setdefault(campaign, self._ledger.daily_spend(campaign, now))

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """The output of the ledger. An answer is for one user, so the recording needs no user id."""
        impressions = self._ledger.daily_impressions(user_or_session, now)
        self._impressions |= impressions
        return impressions

    def pacing(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """The first output of the ledger for a campaign: bid multiplier and participation share."""
        return self._paces.setdefault(campaign, self._ledger.pacing(campaign, budget, now))

    def click_correction(self, ad: str, now: float) -> float:
        """The first output of the ledger for an ad."""
        return self._corrections.setdefault(ad, self._ledger.click_correction(ad, now))

    def recording(self) -> dict[str, Mapping[str, Any]]:
        """The outputs that differ from those of an empty ledger, by kind of output, then by campaign or ad."""
        outputs: dict[str, Mapping[str, Any]] = {
            "spent": {campaign: spend for campaign, spend in self._spends.items() if spend},
            "seen": {ad: count for ad, count in self._impressions.items() if count},
            "paces": {campaign: pace for campaign, pace in self._paces.items() if pace != _NO_PACING},
            "corrections": {ad: factor for ad, factor in self._corrections.items() if factor != _NO_CORRECTION},
        }
        return {kind: values for kind, values in outputs.items() if values}


class ReplayLedger(EmptySpendLedger):
    """A spend ledger that replays what ``RecordingLedger.recording`` returned."""

    def __init__(self, recording: Mapping[str, Mapping[str, Any]]) -> None:
        self._recording = recording

    def daily_spend(self, campaign: str, now: float) -> float:
        """The recorded spend of a campaign, else 0."""
        return float(self._recorded("spent").get(campaign, 0.0))

    def daily_impressions(self, user_or_session: str, now: float) -> Mapping[str, int]:
        """The recorded impressions by ad, whoever the user is."""
        return self._recorded("seen")

    def pacing(self, campaign: str, budget: float, now: float) -> tuple[float, float]:
        """The recorded bid multiplier and participation share of a campaign, else those of no pacing."""
        multiplier, share = self._recorded("paces").get(campaign, _NO_PACING)
        return float(multiplier), float(share)

    def click_correction(self, ad: str, now: float) -> float:
        """The recorded factor on the click probability of an ad, else 1."""
        return float(self._recorded("corrections").get(ad, _NO_CORRECTION))

    def _recorded(self, kind: str) -> Mapping[str, Any]:
        return self._recording.get(kind, {})
