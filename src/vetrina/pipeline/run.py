"""Wires stages to one shop: one scenario's way from a snapshot to a release."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
from sqlalchemy import func, select

from vetrina.compress import CompressionResult, compress, least_aggressive_variant
from vetrina.core import clock, plugins
from vetrina.core.compression import CompressionTrial
from vetrina.core.errors import BadInput
from vetrina.core.files import digest_of, write_bytes
from vetrina.core.peak_memory import peak_memory_mb
from vetrina.core.types import (
    Bundle,
    LoggedAnswer,
    Reason,
    Recipe,
    ReleaseResult,
    Snapshot,
    TrainingData,
    TrainingPlan,
    Verdict,
)
from vetrina.core.version import BUNDLE_FORMAT, VERSION
from vetrina.gate import Candidate, Policy, check_served_file, gate
from vetrina.pipeline import rollout_controller
from vetrina.pipeline.budget_planner import plan_text, plan_training
from vetrina.pipeline.replay import explored_answers
from vetrina.pipeline.shop_context import ShopContext
from vetrina.pipeline.splits import DataSplits
from vetrina.release import decide_release
from vetrina.scenarios import samples
from vetrina.store import dataset
from vetrina.store.registry import ResourceUsage
from vetrina.store.tables import exposures
from vetrina.train import TuningResult, train

Result = TypeVar("Result")


@dataclass(frozen=True)
class SelectedConfig:
    """What validation decided, to be repeated on more data."""

    tuning_result: TuningResult
    compression_result: CompressionResult


class Run:
    """One scenario's way from a snapshot to a release. Every stage's time and memory are kept."""

    def __init__(self, shop_context: ShopContext, snapshot: Snapshot, scenario: str) -> None:
        self._shop_context = shop_context
        self._snapshot = snapshot
        self._scenario = scenario
        self._folder = shop_context.folder
        self._settings = shop_context.folder.settings
        recipe = plugins.load_module("scenarios", scenario, "recipe")
        also = (
            self._settings.train.extra_models
            if recipe.DROPS_UNWEIGHTED_MODELS and recipe.ANSWER_KIND == "products"
            else ()
        )  # a table has classifiers of its own
        if scenario == "predict" and self._settings.predict.onnx:
            also = ("onnx",)
        for name in (*also, *self._settings.train.exclude_models):
            plugins.load_module("models", name, "train")  # an unknown name is refused before anything starts
        own: Recipe = recipe.RECIPE
        self._recipe = replace(own, models=tuple(dict.fromkeys((*own.models, *also))))
        self._run_id = shop_context.run_id or uuid4().hex[:12]
        halvings = shop_context.runs.get_run(shop_context.run_id)["halvings"] if shop_context.run_id else 0
        chosen = self._settings.train
        # What a scenario cannot do without, and the baselines that the gate needs, stay.
        left_out = (
            tuple(m for m in chosen.exclude_models if m not in own.baselines) if recipe.DROPS_UNWEIGHTED_MODELS else ()
        )
        budget = 60.0 * (shop_context.budget_minutes or chosen.budget_minutes)
        self._plan = TrainingPlan(
            chosen.seed,
            budget,
            chosen.threads,
            without=left_out,
            halvings=halvings,
            warm=chosen.warm_start,
            settings=self._settings.transfer.to_dict(),
            begin_before=self._warm_start_before(),
            encoder=chosen.encoder,
            goal=self._settings.predict.goal,
            optimiser=chosen.optimiser,
            loss=chosen.loss,
            foreign=self._external_model_file() if scenario == "predict" else "",
            foreign_inputs=self._settings.predict.onnx_inputs,
        )

    @cached_property
    def _work_folder(self) -> Path:
        """The scenario's own folder. What is known of texts and pictures is known to all scenarios."""
        own = self._folder.work / self._scenario
        shared = self._folder.work / "cache"
        for folder in (own, shared):
            folder.mkdir(parents=True, exist_ok=True)
        if not (own / "cache").exists():  # a shop of before may have one for each scenario
            (own / "cache").symlink_to(Path("..") / "cache", target_is_directory=True)
        return own

    def _warm_start_before(self) -> float:
        """The end of what the version that networks begin from could know. Raises NotFound for an unknown one."""
        if not self._settings.train.warm_start_from:
            return math.inf
        shown = self._shop_context.registry.get_version(self._settings.train.warm_start_from)
        cuts = dataset.open_snapshot(self._folder.snapshots, shown["snapshot"]).cuts
        return cuts.end if cuts else 0.0

    def _external_model_file(self) -> str:
        """The model that was brought along, kept under its content's name: another file is another plan. Raises BadInput."""
        given = self._settings.predict.onnx
        if not given:
            return ""
        file = self._folder.root / given
        if not file.is_file():
            raise BadInput(f"[predict] onnx {given!r}", "is no file", "give its path, from the shop's folder on")
        kept = self._folder.work / "foreign" / f"{digest_of(file)[:32]}.onnx"
        if not kept.exists():
            write_bytes(kept, file.read_bytes())
        return str(kept)

    @cached_property
    def recipe_digest(self) -> str:
        """Changes when the code's version, the bundles' format or a setting that shapes the result changes."""
        text = f"{VERSION} {BUNDLE_FORMAT} {self._recipe} {self._settings.train} {self._settings.weights}"
        text += f" {self._plan.budget_seconds}"
        text += f" {self._plan.goal}" if self._plan.goal else ""
        text += f" {self._settings.transfer}" if self._settings.transfer.to_dict() else ""
        text += f" {self._plan.foreign} {self._plan.foreign_inputs}" if self._plan.foreign else ""
        return sha256(text.encode()).hexdigest()[:24]

    def is_done(self) -> bool:
        """This very data and recipe were released or returned before."""
        made_from = (self._scenario, self._snapshot.digest, self.recipe_digest)
        return self._run_step("look up", lambda: self._shop_context.registry.find_version(*made_from)) is not None

    def train_and_compress_on_fit(self) -> SelectedConfig:
        """Fit before the validation period; settle weights, epochs and compression on it."""
        return self._run_step("fit", self._tune)

    def _tune(self) -> SelectedConfig:
        past, validation = self._splits.fit_and_validation()
        if validation is None:
            # Nothing to tune on: defaults, and forms are chosen for the judged file by the answers of its float models.
            return SelectedConfig(TuningResult({}), CompressionResult(self._work_folder, ()))
        targets = validation.targets
        plan = plan_training(self._recipe, past, self._plan, len(targets.user_ids) if targets else 0)
        if plan != self._plan:
            self._shop_context.progress.message(plan_text(plan))
        with self._timed_stage("train"):
            checkpoint, settled = train(
                self._recipe,
                past,
                self._training_data_digest,
                "fit",
                plan,
                self._work_folder / "fit",
                self._shop_context.progress,
                validation=validation,
            )
        with self._timed_stage("compress"):
            small = compress(
                checkpoint,
                past,
                plan,
                self._work_folder / "fit-small",
                self._shop_context.progress,
                validation=validation,
            )
        return SelectedConfig(replace(settled, notes={**settled.notes, "plan": asdict(plan)}), small)

    def refit_on_fit_and_validation(self, selected: SelectedConfig) -> Bundle:
        """The judged file."""
        name = f"train judged {selected.tuning_result.notes.get('fell_back_to', '')}".strip()
        return self._run_step(name, lambda: self._refit(selected, "judged", self._splits.judged_data()), timed=True)

    def gate_on_holdout(self, judged: Bundle) -> Verdict:
        """Champion's decisions are refitted on the candidate's past, so that both saw the same."""
        return self._run_step(f"gate {judged.version}", lambda: self._gate(judged))

    def _gate(self, judged: Bundle) -> Verdict:
        champion = self._refit_champion()
        # A dull model that ships because nothing better was shown need not be shown to equal another dull one.
        dull = judged.notes["settled"]["notes"].get("fell_back_to")
        with self._timed_stage("gate"):
            verdict = gate(
                self._scenario,
                self._candidate(judged, "judged"),
                champion,
                (dull,) if dull else tuple(m for m in self._recipe.baselines if m in judged.notes["models"]),
                replace(self._splits.holdout(), logged_answers=self._explored_answers()),
                self._gate_policy,
                self._snapshot.digest,
                self._shop_context.progress,
            )
        return self._with_what_was_not_compared(verdict)

    def _with_what_was_not_compared(self, verdict: Verdict) -> Verdict:
        """The verdict, which says so where the champion's bundle was refused."""
        version, _ = self._shop_context.registry.champion(self._scenario)
        if version is None or verdict.champion is not None:
            return verdict
        text = f"nothing to compare with: {version} is a bundle of another Vetrina"
        return replace(verdict, reasons=(*verdict.reasons, Reason("champion-refused", True, text, evaluable=False)))

    def is_beaten_by_baseline(self, verdict: Verdict) -> bool:
        """Nothing serves yet, and all that speaks against the candidate is that a dull model may be as good."""
        failed = [r.code for r in verdict.reasons if not r.passed]
        return verdict.champion is None and bool(failed) and all(c.startswith("floor:") for c in failed)

    def fall_back_to_baseline(self, selected: SelectedConfig, verdict: Verdict) -> SelectedConfig:
        """The best of the baselines that the candidate was not shown to equal, alone. The lost verdict is kept."""
        self._shop_context.registry.record_verdict(verdict)
        lost_to = max((r for r in verdict.reasons if not r.passed), key=lambda r: r.numbers["reference"])
        name = lost_to.code.removeprefix("floor:")
        weights = {blend: {m: float(m == name) for m in w} for blend, w in selected.tuning_result.weights.items()}
        # Trees and calibration are of what lost.
        kept = selected.tuning_result.notes.get("options", {}).items()
        options = {k: v for k, v in kept if k not in ("calibration", "field")} | {"ranked": {}}
        notes = {**selected.tuning_result.notes, "options": options, "fell_back_to": name, "because": lost_to.text}
        return replace(selected, tuning_result=replace(selected.tuning_result, weights=weights, notes=notes))

    def refit_on_all_data(self, selected: SelectedConfig, judged: Bundle) -> Bundle:
        """The served file, unless ``refit = false`` or the scenario keeps its holdout for the report."""
        if not self._settings.train.refit or self._scenario == "predict":
            return judged
        return self._run_step(
            "train served", lambda: self._refit(selected, "served", self._splits.all_data(), judged), timed=True
        )

    def check_served_file(self, served: Bundle, judged: Bundle, verdict: Verdict) -> Verdict:
        """The verdict with what the very file that will serve shows; a file that was judged itself is known already."""
        if served.version == judged.version:
            return verdict
        return self._run_step("inspect served", lambda: self._check_served_file(served, judged, verdict), timed=True)

    def _check_served_file(self, served: Bundle, judged: Bundle, verdict: Verdict) -> Verdict:
        twin = self._shop_context.version_folder(judged.version)
        return check_served_file(self._scenario, self._candidate(served, "served"), twin, verdict, self._gate_policy)

    def release(self, served: Bundle, judged: Bundle, verdict: Verdict) -> ReleaseResult:
        """Record version and verdict, then move the pointer or begin the shadow if the verdict lets it."""
        return self._run_step("release", lambda: self._release(served, judged, verdict))

    def _release(self, served: Bundle, judged: Bundle, verdict: Verdict) -> ReleaseResult:
        registry = self._shop_context.registry
        seen = registry.champion(self._scenario)
        champion = self._shop_context.champion(self._scenario)
        decided = decide_release(self._scenario, served.version, champion, verdict, self._exposures_last_day())
        with self._timed_stage("release"):
            notes = {**served.notes, "release": asdict(decided), "run": self._run_id}
            made_from = (self._snapshot.digest, self.recipe_digest)
            final = replace(verdict, candidate=served.version)
            registry.register_version(served, judged, final, decided, made_from, seen, notes)
            if decided.outcome == "testing" and champion:
                rollout_controller.start_rollout(self._shop_context, self._scenario, served.version, champion)
        return decided

    def _explored_answers(self) -> tuple[LoggedAnswer, ...]:
        """Answers of the holdout period whose places were drawn with known chances."""
        cuts = self._snapshot.cuts
        if cuts is None or plugins.load_module("scenarios", self._scenario, "recipe").ANSWER_KIND != "products":
            return ()
        return explored_answers(self._shop_context, self._scenario, cuts.holdout, cuts.end)

    @property
    def _gate_policy(self) -> Policy:
        chosen = self._settings.gate
        return Policy(chosen.margin, chosen.min_slice_size, chosen.latency_ms, chosen.exposure_disparity_margin)

    def _candidate(self, bundle: Bundle, data_split: str) -> Candidate:
        """A bundle beside the float models that it was made from."""
        return Candidate(
            bundle.version, self._shop_context.version_folder(bundle.version), self._work_folder / data_split
        )

    @cached_property
    def _splits(self) -> DataSplits:
        return DataSplits(self._snapshot, self._settings.weights, self._scenario, self._settings.train.weight_events_by)

    @property
    def _training_data_digest(self) -> str:
        """Names what models learn from: the snapshot, and what its events count where the shop says so."""
        weights = self._settings.weights
        worth = self._settings.train.weight_events_by
        said = f" {sorted(weights.items())} {worth}" if weights or worth else ""
        return sha256(f"{self._snapshot.digest}{said}".encode()).hexdigest() if said else self._snapshot.digest

    def _refit(
        self, selected: SelectedConfig, data_split: str, training_data: TrainingData, judged: Bundle | None = None
    ) -> Bundle:
        """``judged`` is the file whose forms are taken again; before there is one, what was decided with the weights."""
        settled = selected.tuning_result if selected.tuning_result.weights else None
        plan = replace(self._plan, settings=selected.tuning_result.settings)
        checkpoint, used = train(
            self._recipe,
            training_data,
            self._training_data_digest,
            data_split,
            plan,
            self._work_folder / data_split,
            self._shop_context.progress,
            tuning_result=settled,
            trees_source=self._work_folder / "fit",
        )
        repeat: dict[str, str] | None = (
            judged.notes["kept"] if judged else selected.compression_result.kept_variants if settled else None
        )
        if repeat and settled and (dull := settled.notes.get("fell_back_to")):
            # Forms were judged in a blend, not where one model answers alone.
            repeat = {model: least_aggressive_variant(model) for model in repeat if model == dull}
        small = compress(
            checkpoint,
            training_data,
            plan,
            self._work_folder / f"{data_split}-small",
            self._shop_context.progress,
            repeat_variants=repeat,
        )
        steps = self._compression_trials(judged) if judged else small.trials or selected.compression_result.trials
        notes = {
            "form": data_split,
            "snapshot": self._snapshot.digest,
            "logged": self._snapshot.logged,
            "settled": asdict(used),
            "compression": [s.without_timings() for s in steps],
            "kept": small.kept_variants if repeat is None else repeat,
            "samples": samples.sample_answers(self._scenario, small.folder),
            "models": checkpoint.notes,
            "vetrina": VERSION,
        }
        bundle = self._folder.bundles.pack(small.folder, self._scenario, _to_json_values(notes))
        write_bytes(self._compression_file(bundle.version), msgspec.json.encode(steps))
        return bundle

    def _compression_trials(self, bundle: Bundle) -> tuple[CompressionTrial, ...]:
        """The forms that were tried for a version, with their work where that lies beside it."""
        file = self._compression_file(bundle.version)
        kind = tuple[CompressionTrial, ...]
        if file.exists():
            return msgspec.json.decode(file.read_bytes(), type=kind)
        return msgspec.convert(bundle.notes["compression"], type=kind)

    def _compression_file(self, version: str) -> Path:
        return self._folder.reports / f"{version}.forms.json"

    def _refit_champion(self) -> Candidate | None:
        """The champion's blend and settings on this run's past. Equal fits are taken from the model cache."""
        version = self._shop_context.champion(self._scenario)
        if version is None:
            return None
        bundle, _ = self._folder.bundles.unpack(version)
        settled = TuningResult(**bundle.notes["settled"])
        weighed = {m for weights in settled.weights.values() for m, weight in weights.items() if weight}
        if not all(plugins.has_module("models", m, "train") for m in weighed & set(plugins.names("models"))):
            return self._judged_champion(version)
        with self._timed_stage("train champion"):
            plan = replace(self._plan, settings=settled.settings)
            past = self._splits.judged_data()
            checkpoint, _ = train(
                self._recipe,
                past,
                self._training_data_digest,
                "judged",
                plan,
                self._work_folder / "champion",
                self._shop_context.progress,
                tuning_result=settled,
                trees_source=self._shop_context.version_folder(version),
            )
            small = compress(
                checkpoint,
                past,
                plan,
                self._work_folder / "champion-small",
                self._shop_context.progress,
                repeat_variants=bundle.notes["kept"],
            )
        return Candidate(version, small.folder)

    def _judged_champion(self, version: str) -> Candidate:
        """The judged file of a champion with models that are no longer learnt: older than the candidate's past, but its own."""
        judged = self._shop_context.registry.get_version(version)["judged"]
        return Candidate(judged, self._shop_context.version_folder(judged))

    def _exposures_last_day(self) -> int:
        if plugins.load_module("scenarios", self._scenario, "recipe").ANSWER_KIND != "products":
            return 0
        query = (
            select(func.count())
            .select_from(exposures)
            .where(exposures.c.scenario == self._scenario, exposures.c.time >= clock.now() - clock.DAY)
        )
        with self._shop_context.engine.connect() as connection:
            return connection.execute(query).scalar() or 0

    def _run_step(self, name: str, work: Callable[[], Result], *, timed: bool = False) -> Result:
        """A step of the journal: done once in a run, however often the run is cut off."""
        if not timed:
            return self._shop_context.journal.step(name, work)

        def watched() -> Result:
            with self._timed_stage(name):
                return work()

        return self._shop_context.journal.step(name, watched)

    @contextmanager
    def _timed_stage(self, name: str) -> Iterator[None]:
        started = clock.now()
        begun = time.perf_counter()
        worked = _cpu_seconds()
        yield
        used = ResourceUsage(time.perf_counter() - begun, _cpu_seconds() - worked, peak_memory_mb())
        self._shop_context.registry.log_stage(self._run_id, self._scenario, name, started, used)


def _to_json_values(notes: dict[str, Any]) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(notes))


def _cpu_seconds() -> float:
    """Of this process and of those it started and waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
