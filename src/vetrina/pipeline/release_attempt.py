"""Release of a judged version: reads the live traffic, decides, and records version, verdict and rollout as a whole."""

from dataclasses import dataclass, replace

from vetrina.bundle.manifest import Bundle
from vetrina.core import clock
from vetrina.core.errors import NotFound
from vetrina.core.verdicts import Reason, ReleaseResult, Verdict
from vetrina.pipeline import rollout_controller
from vetrina.pipeline.rollout_controller import PreReleaseEvidence
from vetrina.pipeline.shop_context import ShopContext
from vetrina.release import LiveTraffic, VersionOrigin, days_to_decision, decide_release, kind_of_change
from vetrina.scenarios.base import RankingScenario, Scenario
from vetrina.store import exposure_queries
from vetrina.store.registry import VersionRegistration
from vetrina.store.rollouts import NewRollout


@dataclass(frozen=True)
class ReleaseAttempt:
    """The release step of one run.

    Attributes:
        shop_context: The shop.
        scenario: What is released.
        run_id: The run, by which an interrupted attempt is recognised.
        snapshot: Digest of the data that the version was trained on.
    """

    shop_context: ShopContext
    scenario: Scenario
    run_id: str
    snapshot: str

    def recorded(self, version: str) -> ReleaseResult | None:
        """The outcome that an interrupted attempt of this run has recorded already: it released the version as a whole."""
        try:
            recorded = self.shop_context.registry.get_version(version)
        except NotFound:
            return None
        if recorded.run != self.run_id:
            return None
        return recorded.release

    def release(self, served: Bundle, judged: Bundle, verdict: Verdict, recipe_digest: str) -> ReleaseResult:
        """Record version and verdict; promote the version or start its canary where the verdict allows it.

        Args:
            served: The file that will serve.
            judged: The file that the gate has judged.
            verdict: The gate's verdict.
            recipe_digest: Digest of the recipe that the version was trained by.
        """
        context = self.shop_context
        settings = context.folder.settings.release
        champion_pointer = context.registry.champion(self.scenario.name)
        champion = context.champion(self.scenario.name)
        verdict = self._with_changed_champion(verdict, champion)
        now = clock.now()
        answers_last_day = self._answers_since(now - clock.DAY)
        pre_release = None
        if champion is not None and answers_last_day and verdict.may_release:
            pre_release = rollout_controller.read_pre_release(context, self.scenario.name, champion, now)
        traffic = self._live_traffic(answers_last_day, pre_release)
        kind = kind_of_change(VersionOrigin(recipe_digest, served.record.is_quick), self._origin_of(champion))
        decision = decide_release(self.scenario.name, served.version, champion, kind, verdict, traffic, settings)
        decision = replace(decision, is_quick=served.record.is_quick)
        registration = VersionRegistration(
            bundle=served,
            judged_bundle=judged,
            verdict=replace(verdict, candidate=served.version),
            release=decision,
            snapshot=self.snapshot,
            recipe_digest=recipe_digest,
            expected_champion=champion_pointer,
            run=self.run_id,
        )
        new_rollout = self._new_rollout(decision, champion, pre_release, now)
        context.rollouts.release_version(registration, new_rollout, now)
        return decision

    def _with_changed_champion(self, verdict: Verdict, champion: str | None) -> Verdict:
        """The verdict, failed where another version serves by now than the one that the gate compared the candidate with."""
        if verdict.champion is None or champion is None or not verdict.may_release:
            return verdict
        judged_champion = self.shop_context.registry.get_version(champion).judged
        if verdict.champion in (champion, judged_champion):
            return verdict
        text = f"compared with {verdict.champion}, but {champion} serves by now: the next run compares with that"
        reason = Reason("champion-changed", False, text)
        return replace(verdict, outcome="fail", reasons=(*verdict.reasons, reason))

    def _origin_of(self, champion: str | None) -> VersionOrigin | None:
        if champion is None:
            return None
        record = self.shop_context.registry.get_version(champion)
        return VersionOrigin(record.recipe_digest, record.training.is_quick)

    def _answers_since(self, since: float) -> int:
        """How many rankings of this scenario were shown since a time; 0 for scenarios that rank no products."""
        if not isinstance(self.scenario, RankingScenario):
            return 0
        return exposure_queries.count_exposures_since(self.shop_context.engine, self.scenario.name, since)

    def _live_traffic(self, answers_last_day: int, pre_release: PreReleaseEvidence | None) -> LiveTraffic:
        """Users who are there to test the version, with the days that a canary would take."""
        if pre_release is None:
            return LiveTraffic(answers_last_day)
        traffic = pre_release.traffic
        days = days_to_decision(traffic, self.shop_context.folder.settings.release)
        return LiveTraffic(answers_last_day, traffic.units_per_day, days)

    def _new_rollout(
        self, decision: ReleaseResult, champion: str | None, pre_release: PreReleaseEvidence | None, now: float
    ) -> NewRollout | None:
        """The canary or the watch that the decision asks for."""
        if champion is None or pre_release is None:
            return None
        context = self.shop_context
        name = self.scenario.name
        if decision.outcome == "testing":
            return rollout_controller.new_canary(context, name, decision.version, champion, pre_release, now)
        if decision.is_watched:
            return rollout_controller.new_watch(context, name, decision.version, champion, pre_release, now)
        return None
