"""What is logged of a ranking request and of its answer."""

import msgspec
import pytest

from vetrina.core.answers import AdPlacement, Answer, RankedItem
from vetrina.core.protocols import EmptySpendLedger
from vetrina.core.requests import Request
from vetrina.serve.answers.exposed import logged_items, logged_request
from vetrina.serve.recorded_context import LEDGER, OMITTED, RecordingLedger


class _SpentLedger(EmptySpendLedger):
    """A ledger on which every campaign has spent 3."""

    def daily_spend(self, campaign: str, now: float) -> float:
        """The same for all."""
        return 3.0


def test_only_parameters_that_differ_from_their_defaults_are_logged():
    request = Request(user="u", session="s", query="tea", limit=5, explain=True)
    assert msgspec.json.decode(logged_request(request, None)) == {"query": "tea", "limit": 5}


def test_parameters_that_are_too_long_are_logged_as_a_digest():
    request = Request(query="tea", product_ids=tuple("p" * 200 for _ in range(50)))
    logged = msgspec.json.decode(logged_request(request, None))
    assert logged.keys() == {"query", OMITTED}


@pytest.mark.parametrize("asks", [True, False])
def test_what_the_spend_ledger_output_is_logged_so_that_the_request_can_be_replayed(asks):
    recorder = RecordingLedger(_SpentLedger())
    if asks:
        recorder.daily_spend("c1", 0.0)
    logged = msgspec.json.decode(logged_request(Request(), recorder))
    assert logged == ({LEDGER: {"spent": {"c1": 3.0}}} if asks else {})


def test_items_are_logged_with_position_propensity_ad_and_team():
    sold = RankedItem("p2", "", 0.5, ad=AdPlacement("a1", "c1", 0.2, 0.1))
    explored = RankedItem("p1", "", 0.123456, propensity=0.9, team="canary")
    first, second = logged_items(Answer((explored, sold), 2), offset=10)
    assert (first.position, first.propensity, first.score, first.team, first.ad) == (11, 0.9, 0.1235, "canary", None)
    assert (second.position, second.propensity, second.team, second.ad) == (12, 1.0, "", sold.ad)
