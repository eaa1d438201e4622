"""One run of one scenario: from a snapshot to a release decision.

Connects the stages to a shop: which data each stage gets, where its files lie, what is recorded of it. Every public method is one
durable step of the path in ``path.py``. What a stage does is in the stage's own package.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import msgspec

from vetrina.bundle.manifest import Bundle, TrainingRecord
from vetrina.compress import CompressionResult, compress, least_aggressive_variant
from vetrina.core import clock
from vetrina.core.compression import CompressionTrial
from vetrina.core.evaluation_data import LoggedAnswer
from vetrina.core.files import write_bytes
from vetrina.core.peak_memory import peak_memory_mb
from vetrina.core.protocols import DataSplits
from vetrina.core.snapshots import Snapshot
from vetrina.core.training_data import TrainingData
from vetrina.core.tuning_result import Fallback, TuningResult
from vetrina.core.verdicts import Reason, Reference, ReleaseResult, Verdict
from vetrina.core.version import VERSION
from vetrina.data.splits import sample_holdout
from vetrina.gate import Candidate, Policy, check_served_file, gate
from vetrina.model_selection.budget_planner import plan_text, plan_training
from vetrina.models.base import costs_of, find_model, has_model
from vetrina.pipeline.recipe import base_plan, full_recipe, quick_recipe, recipe_digest
from vetrina.pipeline.release_attempt import ReleaseAttempt
from vetrina.pipeline.replay import explored_answers
from vetrina.pipeline.shop_context import ShopContext
from vetrina.scenarios import samples
from vetrina.scenarios.base import RankingScenario, find_scenario
from vetrina.store.runs import ResourceUsage
from vetrina.train import train

Result = TypeVar("Result")
_RECIPE_DIGEST_LENGTH = 24  # hex digits
_EXTERNAL_MODEL_DIGEST_LENGTH = 32  # hex digits
_QUICK_GATE_UNITS = 300  # users or queries that the gate judges a quick version on


@dataclass(frozen=True)
class SelectedConfig:
    """What was selected on validation data, to be repeated on more data."""

    tuning_result: TuningResult
    compression_result: CompressionResult


class Run:
    """One run of one scenario. Time and memory of every stage are recorded.

    Args:
        shop_context: The shop.
        snapshot: The data.
        scenario: What is trained.
        is_quick: Whether the scenario's quick recipe is released: few models, fixed weights, nothing compressed.

    Raises:
        BadInput: An unknown model in the settings, or a model file that is not there.
    """

    def __init__(self, shop_context: ShopContext, snapshot: Snapshot, scenario: str, *, is_quick: bool = False) -> None:
        self._is_quick = is_quick
        self._shop_context = shop_context
        self._snapshot = snapshot
        self._scenario = scenario
        self._folder = shop_context.folder
        self._settings = shop_context.folder.settings
        self._definition = find_scenario(scenario)
        if is_quick:
            self._recipe = quick_recipe(self._definition)
        else:
            self._recipe = full_recipe(self._definition, self._settings)
        self._run_id = shop_context.run_id or uuid4().hex[:12]
        self._plan = base_plan(shop_context, self._definition, self._recipe)

    # Steps of the path, in its order

    def is_needed(self) -> bool:
        """Whether nothing serves, and this recipe was not tried on this data."""

        def work() -> bool:
            return self._shop_context.champion(self._scenario) is None and self._find_version() is None

        return self._run_step("choose recipe", bool, work)

    def is_done(self) -> bool:
        """Whether this data and recipe were released or returned before."""
        return self._run_step("look up", bool, lambda: self._find_version() is not None)

    def train_and_compress_on_fit(self) -> SelectedConfig:
        """Fit on the data before the validation period; select weights, epochs and compression variants on the period.

        The quick recipe has fixed weights: nothing is fitted yet.
        """
        if self._is_quick:
            return self._run_step("fixed weights", SelectedConfig, self._select_quickly)
        return self._run_step("fit", SelectedConfig, self._tune)

    def refit_on_fit_and_validation(self, selected: SelectedConfig) -> Bundle:
        """The judged file: the selection repeated on fit and validation data."""
        step_name = "train judged"
        fallback = selected.tuning_result.fallback
        if fallback is not None:
            step_name = f"train judged {fallback.baseline}"

        def work() -> Bundle:
            return self._refit(selected, "judged", self._judged_data)

        return self._run_step(step_name, Bundle, work, timed=True)

    def gate_on_holdout(self, judged: Bundle) -> Verdict:
        """The gate's verdict on held-out data. The champion's selection is refitted on the same data as the candidate's."""
        return self._run_step(f"gate {judged.version}", Verdict, lambda: self._gate(judged))

    def is_beaten_by_baseline(self, verdict: Verdict) -> bool:
        """Whether nothing or only a quick version serves, and the only failed checks are those against baselines."""
        failed = [reason for reason in verdict.reasons if not reason.passed]
        if not failed or (verdict.champion is not None and not self._is_served_quickly):
            return False
        return all(_is_baseline(reason.reference) for reason in failed)

    def fall_back_to_baseline(self, selected: SelectedConfig, verdict: Verdict) -> SelectedConfig:
        """The selection with all weight on the best baseline that the candidate failed against. That verdict is recorded."""
        self._shop_context.registry.record_verdict(verdict)
        lost_to: list[tuple[Reference, str]] = []
        for reason in verdict.reasons:
            if not reason.passed and reason.reference is not None:
                lost_to.append((reason.reference, reason.text))
        best, finding = max(lost_to, key=lambda loss: loss[0].quality)
        tuning_result = selected.tuning_result.with_baseline(Fallback(best.name, finding))
        return replace(selected, tuning_result=tuning_result)

    def refit_on_all_data(self, selected: SelectedConfig, judged: Bundle) -> Bundle:
        """The served file: the selection repeated on all data.

        It is the judged file where ``refit = false``, and for scenarios that serve it.
        """
        if not self._settings.train.refit or self._definition.serves_judged_file:
            return judged

        def work() -> Bundle:
            return self._refit(selected, "served", self._with_cache(self._splits.all_data()), judged)

        return self._run_step("train served", Bundle, work, timed=True)

    def check_served_file(self, served: Bundle, judged: Bundle, verdict: Verdict) -> Verdict:
        """The verdict with the checks of the file that will serve. Unchanged where the judged file itself will serve."""
        if served.version == judged.version:
            return verdict

        def work() -> Verdict:
            return self._check_served_file(served, judged, verdict)

        return self._run_step("inspect served", Verdict, work, timed=True)

    def release(self, served: Bundle, judged: Bundle, verdict: Verdict) -> ReleaseResult:
        """Record version and verdict; promote the version or start its canary where the verdict allows it."""
        return self._run_step("release", ReleaseResult, lambda: self._release(served, judged, verdict))

    @cached_property
    def recipe_digest(self) -> str:
        """Hash of what shapes the result besides the data: code version, bundle format, recipe and settings."""
        return recipe_digest(self._recipe, self._plan, self._settings)

    # Folders and data

    @cached_property
    def _work_folder(self) -> Path:
        """The scenario's work folder."""
        folder = self._folder.work / self._scenario
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _with_cache(self, training_data: TrainingData) -> TrainingData:
        """The data with the cache of text and image embeddings, which all scenarios share."""
        cache = self._folder.work / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        return replace(training_data, cache=cache)

    @cached_property
    def _splits(self) -> DataSplits:
        return self._definition.splits(self._snapshot, self._settings)

    @cached_property
    def _judged_data(self) -> TrainingData:
        return self._with_cache(self._splits.judged_data())

    @cached_property
    def _is_served_quickly(self) -> bool:
        """Whether the version that serves is a quick one."""
        version = self._shop_context.champion(self._scenario)
        return version is not None and self._shop_context.registry.get_version(version).training.is_quick

    @property
    def _training_data_digest(self) -> str:
        """Names what models are trained on: the snapshot, with the event weights where the settings change them."""
        weights = self._settings.weights
        business_goal = self._settings.train.weight_events_by
        if not weights and not business_goal:
            return self._snapshot.digest
        text = f"{self._snapshot.digest} {sorted(weights.items())} {business_goal}"
        return sha256(text.encode()).hexdigest()

    def _candidate(self, bundle: Bundle, data_split: str) -> Candidate:
        """A bundle with the folder of the float models that it was made from; none for models that are not compressed."""
        folder = self._shop_context.version_folder(bundle.version)
        if self._is_quick:
            return Candidate(bundle.version, folder)
        return Candidate(bundle.version, folder, self._work_folder / data_split)

    # What the steps do

    def _find_version(self) -> str | None:
        """The version that was made from this data and recipe before."""
        return self._shop_context.registry.find_version(self._scenario, self._snapshot.digest, self.recipe_digest)

    def _select_quickly(self) -> SelectedConfig:
        """The fixed weights of the quick recipe, for the models that the data supports. Its models stay as they are trained."""
        training_data = self._judged_data
        models = [name for name in self._definition.models_for(training_data) if name in self._recipe.models]
        weights = self._definition.default_weights(tuple(models))
        cuts = self._snapshot.cuts
        since = cuts.validation if cuts else 0.0
        options = self._definition.quick_options(training_data, since)
        tuning_result = TuningResult(weights, self._recipe.settings, options)
        return SelectedConfig(tuning_result, CompressionResult(self._work_folder, ()))

    def _tune(self) -> SelectedConfig:
        training_data, validation = self._splits.fit_and_validation()
        if validation is None:
            # Nothing to tune on: default weights; variants are selected on the judged file, by agreement with its float models.
            return SelectedConfig(TuningResult({}), CompressionResult(self._work_folder, ()))
        training_data = self._with_cache(training_data)
        n_users = 0
        if validation.targets is not None:
            n_users = len(validation.targets.user_ids)
        costs = costs_of(self._recipe.models)
        plan = plan_training(costs, training_data, self._plan, n_users)
        if plan != self._plan:
            self._shop_context.progress.message(plan_text(plan))
        with self._timed_stage("train"):
            checkpoint, tuning_result = train(
                self._recipe,
                training_data,
                self._training_data_digest,
                "fit",
                plan,
                self._work_folder / "fit",
                self._shop_context.progress,
                validation=validation,
            )
        with self._timed_stage("compress"):
            compression_result = compress(
                checkpoint,
                training_data,
                plan,
                self._work_folder / "fit-small",
                self._shop_context.progress,
                validation=validation,
            )
        plan_report = asdict(plan)
        plan_report["compute"] = {
            "engine": plan.compute.engine,
            "device": plan.compute.device,
        }  # no addresses in bundles
        report = {**tuning_result.report, "plan": plan_report}
        return SelectedConfig(replace(tuning_result, report=report), compression_result)

    def _refit(
        self, selected: SelectedConfig, data_split: str, training_data: TrainingData, judged: Bundle | None = None
    ) -> Bundle:
        """Train and compress with the selected configuration, and pack the result.

        Args:
            selected: Configuration to repeat.
            data_split: ``judged`` or ``served``.
            training_data: Data of that split.
            judged: Judged file whose compression variants are repeated; None while there is none yet.
        """
        tuning_result = None
        if selected.tuning_result.weights:
            tuning_result = selected.tuning_result
        plan = replace(self._plan, settings=selected.tuning_result.settings)
        checkpoint, used_tuning_result = train(
            self._recipe,
            training_data,
            self._training_data_digest,
            data_split,
            plan,
            self._work_folder / data_split,
            self._shop_context.progress,
            tuning_result=tuning_result,
            trees_source=self._work_folder / "fit",
        )
        repeat_variants = _variants_to_repeat(selected, tuning_result, judged)
        compression_result = compress(
            checkpoint,
            training_data,
            plan,
            self._work_folder / f"{data_split}-small",
            self._shop_context.progress,
            repeat_variants=repeat_variants,
        )
        kept_variants: Mapping[str, str] = compression_result.kept_variants
        if repeat_variants is not None:
            kept_variants = repeat_variants
        trials = compression_result.trials or selected.compression_result.trials
        if judged is not None:
            trials = self._compression_trials(judged)
        record = TrainingRecord(
            data_split=data_split,
            is_quick=self._is_quick,
            snapshot=self._snapshot.digest,
            logged=self._snapshot.logged,
            tuning=used_tuning_result,
            compression_trials=trials,
            kept_variants=kept_variants,
            samples=samples.sample_answers(self._scenario, compression_result.folder),
            models={name: model_notes.report for name, model_notes in checkpoint.notes.items()},
            vetrina=VERSION,
        )
        bundle = self._folder.bundles.pack(compression_result.folder, self._scenario, record)
        write_bytes(self._compression_file(bundle.version), msgspec.json.encode(trials))
        return bundle

    def _compression_trials(self, bundle: Bundle) -> tuple[CompressionTrial, ...]:
        """The compression variants tried for a version, with CPU times where the file beside the version has them."""
        file = self._compression_file(bundle.version)
        if file.exists():
            return msgspec.json.decode(file.read_bytes(), type=tuple[CompressionTrial, ...])
        return bundle.record.compression_trials

    def _compression_file(self, version: str) -> Path:
        return self._folder.reports / f"{version}.forms.json"

    def _gate(self, judged: Bundle) -> Verdict:
        champion = self._refit_champion()
        baselines = tuple(name for name in self._recipe.baselines if name in judged.record.models)
        fallback = judged.record.tuning.fallback
        if fallback is not None:
            # A baseline that ships because nothing is better need not be compared with the other baselines.
            baselines = (fallback.baseline,)
        holdout = replace(self._splits.holdout(), logged_answers=self._explored_answers())
        sample = None
        if self._is_quick:
            holdout, sample = sample_holdout(holdout, _QUICK_GATE_UNITS)
        with self._timed_stage("gate"):
            verdict = gate(
                self._scenario,
                self._candidate(judged, "judged"),
                champion,
                baselines,
                holdout,
                self._gate_policy,
                self._snapshot.digest,
                self._shop_context.progress,
            )
        if sample is not None:
            verdict = replace(verdict, reasons=(*verdict.reasons, sample))
        return self._with_refused_champion(verdict)

    def _with_refused_champion(self, verdict: Verdict) -> Verdict:
        """The verdict, with a reason that says so where the champion's bundle cannot be read by this version of Vetrina."""
        version, _ = self._shop_context.registry.champion(self._scenario)
        if version is None or verdict.champion is not None:
            return verdict
        text = f"nothing to compare with: {version} is a bundle of another Vetrina"
        reason = Reason("champion-refused", True, text, evaluable=False)
        return replace(verdict, reasons=(*verdict.reasons, reason))

    def _refit_champion(self) -> Candidate | None:
        """The champion's selection refitted on this run's data; None without a champion. Equal fits come from the model cache."""
        version = self._shop_context.champion(self._scenario)
        if version is None:
            return None
        bundle, _ = self._folder.bundles.unpack(version)
        tuning_result = bundle.record.tuning
        if not _can_be_trained(tuning_result):
            return self._judged_champion(version)
        with self._timed_stage("train champion"):
            plan = replace(self._plan, settings=tuning_result.settings)
            training_data = self._judged_data
            recipe = self._recipe
            if bundle.record.is_quick:
                recipe = quick_recipe(self._definition)
            checkpoint, _ = train(
                recipe,
                training_data,
                self._training_data_digest,
                "judged",
                plan,
                self._work_folder / "champion",
                self._shop_context.progress,
                tuning_result=tuning_result,
                trees_source=self._shop_context.version_folder(version),
            )
            compression_result = compress(
                checkpoint,
                training_data,
                plan,
                self._work_folder / "champion-small",
                self._shop_context.progress,
                repeat_variants=bundle.record.kept_variants,
            )
        return Candidate(version, compression_result.folder)

    def _judged_champion(self, version: str) -> Candidate:
        """The champion's own judged file, on older data, for one with models that can no longer be trained."""
        judged = self._shop_context.registry.get_version(version).judged
        return Candidate(judged, self._shop_context.version_folder(judged))

    def _explored_answers(self) -> tuple[LoggedAnswer, ...]:
        """Logged answers of the holdout period whose ranking was randomised, with known propensities."""
        cuts = self._snapshot.cuts
        if cuts is None or not isinstance(self._definition, RankingScenario):
            return ()
        return explored_answers(self._shop_context, self._scenario, cuts.holdout, cuts.end)

    @property
    def _gate_policy(self) -> Policy:
        settings = self._settings.gate
        return Policy(settings.margin, settings.min_slice_size, settings.latency_ms, settings.exposure_disparity_margin)

    def _check_served_file(self, served: Bundle, judged: Bundle, verdict: Verdict) -> Verdict:
        judged_folder = self._shop_context.version_folder(judged.version)
        candidate = self._candidate(served, "served")
        return check_served_file(self._scenario, candidate, judged_folder, verdict, self._gate_policy)

    def _release(self, served: Bundle, judged: Bundle, verdict: Verdict) -> ReleaseResult:
        attempt = ReleaseAttempt(self._shop_context, self._definition, self._run_id, self._snapshot.digest)
        recorded = attempt.recorded(served.version)
        if recorded is not None:
            return recorded
        with self._timed_stage("release"):
            return attempt.release(served, judged, verdict, self.recipe_digest)

    # Journal and records

    def _run_step(
        self, name: str, result_type: type[Result], work: Callable[[], Result], *, timed: bool = False
    ) -> Result:
        """Execute a step of the journal: once in a run, however often the run is interrupted."""
        if not timed:
            return self._shop_context.journal.step(name, result_type, work)

        def timed_work() -> Result:
            with self._timed_stage(name):
                return work()

        return self._shop_context.journal.step(name, result_type, timed_work)

    @contextmanager
    def _timed_stage(self, name: str) -> Iterator[None]:
        """Record wall time, CPU time and peak memory of a stage."""
        started_at = clock.now()
        wall_start = time.perf_counter()
        cpu_start = _cpu_seconds()
        yield
        wall_seconds = time.perf_counter() - wall_start
        cpu_seconds = _cpu_seconds() - cpu_start
        usage = ResourceUsage(wall_seconds, cpu_seconds, peak_memory_mb())
        self._shop_context.runs.log_stage(self._run_id, self._scenario, name, started_at, usage)


def start_run(shop_context: ShopContext, snapshot: Snapshot, scenario: str) -> Run:
    """The run of the quick recipe while nothing serves and it was not tried on this data yet, else of the full recipe.

    Args:
        shop_context: The shop; its ``quick`` allows the quick recipe.
        snapshot: The data.
        scenario: What is trained.
    """
    if shop_context.quick and find_scenario(scenario).quick_recipe is not None:
        quick_run = Run(shop_context, snapshot, scenario, is_quick=True)
        if quick_run.is_needed():
            return quick_run
    return Run(shop_context, snapshot, scenario)


def _is_baseline(reference: Reference | None) -> bool:
    return reference is not None and reference.kind == "baseline"


def _variants_to_repeat(
    selected: SelectedConfig, tuning_result: TuningResult | None, judged: Bundle | None
) -> Mapping[str, str] | None:
    """Compression variants to repeat, by model; None where they have to be selected first."""
    if judged is not None:
        variants = judged.record.kept_variants
    elif tuning_result is not None:
        variants = selected.compression_result.kept_variants
    else:
        return None
    fallback = None
    if tuning_result is not None:
        fallback = tuning_result.fallback
    if fallback is not None and variants:
        # Variants were judged in a blend, not where one model answers alone.
        return {model: least_aggressive_variant(model) for model in variants if model == fallback.baseline}
    return variants


def _can_be_trained(tuning_result: TuningResult) -> bool:
    """Whether every model with weight in a blend still has training code."""
    for blend_weights in tuning_result.weights.values():
        for name, weight in blend_weights.items():  # the name of a model, or of another signal
            if weight and has_model(name) and not find_model(name).is_trainable:
                return False
    return True


def _cpu_seconds() -> float:
    """CPU seconds of this process and of the child processes that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
