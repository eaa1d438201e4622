"""Sequences of promotions, canaries and rollbacks: whoever repeats a call or is late with it does no harm."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vetrina.core import clock
from vetrina.core.errors import NotFound
from vetrina.core.keys import load_or_create
from vetrina.core.rollout_types import PreReleaseStatistics, Rollout, RolloutEvidence
from vetrina.core.settings import ReleaseSettings
from vetrina.store import operator_actions
from vetrina.store.database import open_store
from vetrina.store.registry import Registry
from vetrina.store.rollouts import NewRollout, RolloutStore, RunningRollout

pytestmark = pytest.mark.security
VERSIONS = st.sampled_from(["v1", "v2", "v3"])


class Bundles:
    """Every bundle opens."""

    def unpack(self, version: str) -> None:
        """Nothing to do."""


class Operators(RuleBasedStateMachine):
    """Operators and a controller act on one scenario, one call after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        keys = load_or_create(Path(self._folder.name) / "keys")
        self._engine = open_store(f"sqlite:///{self._folder.name}/store.db", keys)
        self._registry = Registry(self._engine, keys)
        self._rollouts = RolloutStore(self._engine, keys, self._registry)
        self._withdrawn: set[str] = set()  # left by a rollback, not promoted since
        self._served: set[str] = set()
        self._n_rollouts = 0

    def teardown(self) -> None:
        self._engine.dispose()
        self._folder.cleanup()

    def _rollback(self, leaving: str | None = None) -> dict[str, Any]:
        bundles: Any = Bundles()
        return operator_actions.rollback(self._registry, self._rollouts, bundles, "search", leaving)

    def _champion(self) -> str | None:
        return self._registry.champion("search")[0]

    def _is_testing(self) -> bool:
        return "search" in self._rollouts.running()

    def _leave(self, leaving: str | None) -> None:
        """Roll back and again, as a client does whose first answer was lost."""
        before = self._champion()
        with suppress(NotFound):
            result = self._rollback(leaving)
            after = self._champion()
            assert result["version"] == after
            assert result["from"] not in (None, after)
            if leaving is not None:
                assert result["from"] == leaving
            if after != before:
                assert after in self._served - self._withdrawn, (
                    "it goes back only to what served and was not taken back"
                )
                self._withdrawn.add(before or "")
            if result["changed"]:
                assert not self._rollback(leaving)["changed"], "the same call again changes nothing"
            assert self._champion() == after

    @rule(version=VERSIONS)
    def promote(self, version: str) -> None:
        if self._champion() != version:
            self._registry.set_champion("search", version, "promoted by an operator")
            self._withdrawn.discard(version)
            self._served.add(version)

    @precondition(lambda self: self._champion() is not None and not self._is_testing())
    @rule(candidate=VERSIONS)
    def start_canary(self, candidate: str) -> None:
        champion = self._champion() or ""
        if candidate != champion:
            self._n_rollouts += 1
            began = clock.now()
            rollout = Rollout(f"r{self._n_rollouts}", "search", candidate, champion, "salt", began, began, (0.5,))
            running = RunningRollout(rollout, PreReleaseStatistics(), RolloutEvidence(began), ReleaseSettings())
            self._rollouts.start(NewRollout(running, {}))

    @rule()
    def roll_back(self) -> None:
        self._leave(None)

    @rule(version=VERSIONS)
    def roll_back_from(self, version: str) -> None:
        self._leave(version)

    @invariant()
    def what_serves_was_not_taken_back(self) -> None:
        assert self._champion() not in self._withdrawn


TestOperators = Operators.TestCase
TestOperators.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
