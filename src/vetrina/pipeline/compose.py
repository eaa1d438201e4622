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

from vetrina.compress import Compressed, compress, gentlest
from vetrina.core import clock, plugins
from vetrina.core.compression import CompressionStep
from vetrina.core.errors import BadInput
from vetrina.core.files import digest_of, write_bytes
from vetrina.core.peak_memory import peak_memory_mb
from vetrina.core.types import (
    Bundle,
    LoggedAnswer,
    Past,
    Plan,
    Reason,
    Recipe,
    Release,
    Snapshot,
    Verdict,
)
from vetrina.core.version import BUNDLE_FORMAT, VERSION
from vetrina.gate import Candidate, Policy, gate, inspect
from vetrina.pipeline import rollout
from vetrina.pipeline.held import Held
from vetrina.pipeline.planner import planned, said
from vetrina.pipeline.replay import drawn_answers
from vetrina.pipeline.workshop import Workshop
from vetrina.release import release
from vetrina.scenarios import samples
from vetrina.store import dataset
from vetrina.store.registry import Used
from vetrina.store.tables import exposures
from vetrina.train import Settled, train

Result = TypeVar("Result")


@dataclass(frozen=True)
class Tuned:
    """What validation decided, to be repeated on more data."""

    settled: Settled
    compressed: Compressed


class Run:
    """One scenario's way from a snapshot to a release. Every stage's time and memory are kept."""

    def __init__(self, workshop: Workshop, snapshot: Snapshot, scenario: str) -> None:
        self._workshop, self._snapshot, self._scenario = workshop, snapshot, scenario
        self._shop, self._settings = workshop.shop, workshop.shop.settings
        recipe = plugins.part("scenarios", scenario, "recipe")
        also = (
            self._settings.train.also if recipe.OPTIONAL and recipe.ANSWERS == "products" else ()
        )  # a table has classifiers of its own
        if scenario == "predict" and self._settings.predict.onnx:
            also = ("onnx",)
        for name in (*also, *self._settings.train.without):
            plugins.part("models", name, "train")  # an unknown name is refused before anything starts
        own: Recipe = recipe.RECIPE
        self._recipe = replace(own, models=tuple(dict.fromkeys((*own.models, *also))))
        self._id = workshop.run or uuid4().hex[:12]
        halvings = workshop.runs.get(workshop.run)["halvings"] if workshop.run else 0
        chosen = self._settings.train
        # What a scenario cannot do without, and the baselines that the gate needs, stay.
        left_out = tuple(m for m in chosen.without if m not in own.baselines) if recipe.OPTIONAL else ()
        budget = 60.0 * (workshop.budget_minutes or chosen.budget_minutes)
        self._plan = Plan(
            chosen.seed,
            budget,
            chosen.threads,
            without=left_out,
            halvings=halvings,
            warm=chosen.warm,
            settings=self._settings.transfer.of(),
            begin_before=self._begin_before(),
            encoder=chosen.encoder,
            goal=self._settings.predict.goal,
            optimiser=chosen.optimiser,
            loss=chosen.loss,
            foreign=self._foreign() if scenario == "predict" else "",
            foreign_inputs=self._settings.predict.onnx_inputs,
        )

    @cached_property
    def _work(self) -> Path:
        """The scenario's own folder. What is known of texts and pictures is known to all scenarios."""
        own, shared = self._shop.work / self._scenario, self._shop.work / "cache"
        for folder in (own, shared):
            folder.mkdir(parents=True, exist_ok=True)
        if not (own / "cache").exists():  # a shop of before may have one for each scenario
            (own / "cache").symlink_to(Path("..") / "cache", target_is_directory=True)
        return own

    def _begin_before(self) -> float:
        """The end of what the version that networks begin from could know. Raises NotFound for an unknown one."""
        if not self._settings.train.begin:
            return math.inf
        shown = self._workshop.registry.show(self._settings.train.begin)
        cuts = dataset.open_snapshot(self._shop.snapshots, shown["snapshot"]).cuts
        return cuts.end if cuts else 0.0

    def _foreign(self) -> str:
        """The model that was brought along, kept under its content's name: another file is another plan. Raises BadInput."""
        given = self._settings.predict.onnx
        if not given:
            return ""
        file = self._shop.root / given
        if not file.is_file():
            raise BadInput(f"[predict] onnx {given!r}", "is no file", "give its path, from the shop's folder on")
        kept = self._shop.work / "foreign" / f"{digest_of(file)[:32]}.onnx"
        if not kept.exists():
            write_bytes(kept, file.read_bytes())
        return str(kept)

    @cached_property
    def recipe_digest(self) -> str:
        """Changes when the code's version, the bundles' format or a setting that shapes the result changes."""
        text = f"{VERSION} {BUNDLE_FORMAT} {self._recipe} {self._settings.train} {self._settings.weights}"
        text += f" {self._plan.budget_seconds}"
        text += f" {self._plan.goal}" if self._plan.goal else ""
        text += f" {self._settings.transfer}" if self._settings.transfer.of() else ""
        text += f" {self._plan.foreign} {self._plan.foreign_inputs}" if self._plan.foreign else ""
        return sha256(text.encode()).hexdigest()[:24]

    def is_done(self) -> bool:
        """This very data and recipe were released or returned before."""
        made_from = (self._scenario, self._snapshot.digest, self.recipe_digest)
        return self._kept("look up", lambda: self._workshop.registry.built(*made_from)) is not None

    def train_and_compress_on_fit(self) -> Tuned:
        """Fit before the validation period; settle weights, epochs and compression on it."""
        return self._kept("fit", self._tuned)

    def _tuned(self) -> Tuned:
        past, validation = self._data.fit()
        if validation is None:
            # Nothing to tune on: defaults, and forms are chosen for the judged file by the answers of its float models.
            return Tuned(Settled({}), Compressed(self._work, ()))
        targets = validation.targets
        plan = planned(self._recipe, past, self._plan, len(targets.user) if targets else 0)
        if plan != self._plan:
            self._workshop.progress.say(said(plan))
        with self._stage("train"):
            checkpoint, settled = train(
                self._recipe,
                past,
                self._learnt_from,
                "fit",
                plan,
                self._work / "fit",
                self._workshop.progress,
                validation=validation,
            )
        with self._stage("compress"):
            small = compress(
                checkpoint, past, plan, self._work / "fit-small", self._workshop.progress, validation=validation
            )
        return Tuned(replace(settled, notes={**settled.notes, "plan": asdict(plan)}), small)

    def repeat_on_fit_and_validation(self, tuned: Tuned) -> Bundle:
        """The judged file."""
        name = f"train judged {tuned.settled.notes.get('fell_back_to', '')}".strip()
        return self._kept(name, lambda: self._repeat(tuned, "judged", self._data.judged()), timed=True)

    def gate_on_holdout(self, judged: Bundle) -> Verdict:
        """Champion's decisions are refitted on the candidate's past, so that both saw the same."""
        return self._kept(f"gate {judged.version}", lambda: self._gated(judged))

    def _gated(self, judged: Bundle) -> Verdict:
        champion = self._champion_twin()
        # A dull model that ships because nothing better was shown need not be shown to equal another dull one.
        dull = judged.notes["settled"]["notes"].get("fell_back_to")
        with self._stage("gate"):
            verdict = gate(
                self._scenario,
                self._packed(judged, "judged"),
                champion,
                (dull,) if dull else tuple(m for m in self._recipe.baselines if m in judged.notes["models"]),
                replace(self._data.holdout(), exposures=self._exposures()),
                self._policy,
                self._snapshot.digest,
                self._workshop.progress,
            )
        return self._with_what_was_not_compared(verdict)

    def _with_what_was_not_compared(self, verdict: Verdict) -> Verdict:
        """The verdict, which says so where the champion's bundle was refused."""
        version, _ = self._workshop.registry.champion(self._scenario)
        if version is None or verdict.champion is not None:
            return verdict
        text = f"nothing to compare with: {version} is a bundle of another Vetrina"
        return replace(verdict, reasons=(*verdict.reasons, Reason("champion-refused", True, text, evaluable=False)))

    def lost_to_a_baseline(self, verdict: Verdict) -> bool:
        """Nothing serves yet, and all that speaks against the candidate is that a dull model may be as good."""
        failed = [r.code for r in verdict.reasons if not r.passed]
        return verdict.champion is None and bool(failed) and all(c.startswith("floor:") for c in failed)

    def baseline_that_won(self, tuned: Tuned, verdict: Verdict) -> Tuned:
        """The best of the baselines that the candidate was not shown to equal, alone. The lost verdict is kept."""
        self._workshop.registry.record(verdict)
        lost_to = max((r for r in verdict.reasons if not r.passed), key=lambda r: r.numbers["reference"])
        name = lost_to.code.removeprefix("floor:")
        weights = {blend: {m: float(m == name) for m in w} for blend, w in tuned.settled.weights.items()}
        # Trees and calibration are of what lost.
        kept = tuned.settled.notes.get("options", {}).items()
        options = {k: v for k, v in kept if k not in ("calibration", "field")} | {"ranked": {}}
        notes = {**tuned.settled.notes, "options": options, "fell_back_to": name, "because": lost_to.text}
        return replace(tuned, settled=replace(tuned.settled, weights=weights, notes=notes))

    def repeat_on_everything(self, tuned: Tuned, judged: Bundle) -> Bundle:
        """The served file, unless ``refit = false`` or the scenario keeps its holdout for the report."""
        if not self._settings.train.refit or self._scenario == "predict":
            return judged
        return self._kept(
            "train served", lambda: self._repeat(tuned, "served", self._data.everything(), judged), timed=True
        )

    def inspect(self, served: Bundle, judged: Bundle, verdict: Verdict) -> Verdict:
        """The verdict with what the very file that will serve shows; a file that was judged itself is known already."""
        if served.version == judged.version:
            return verdict
        return self._kept("inspect served", lambda: self._inspected(served, judged, verdict), timed=True)

    def _inspected(self, served: Bundle, judged: Bundle, verdict: Verdict) -> Verdict:
        twin = self._workshop.open_version(judged.version)
        return inspect(self._scenario, self._packed(served, "served"), twin, verdict, self._policy)

    def release(self, served: Bundle, judged: Bundle, verdict: Verdict) -> Release:
        """Record version and verdict, then move the pointer or begin the shadow if the verdict lets it."""
        return self._kept("release", lambda: self._released(served, judged, verdict))

    def _released(self, served: Bundle, judged: Bundle, verdict: Verdict) -> Release:
        registry = self._workshop.registry
        seen = registry.champion(self._scenario)
        champion = self._workshop.champion(self._scenario)
        decided = release(self._scenario, served.version, champion, verdict, self._exposures_last_day())
        with self._stage("release"):
            notes = {**served.notes, "release": asdict(decided), "run": self._id}
            made_from = (self._snapshot.digest, self.recipe_digest)
            final = replace(verdict, candidate=served.version)
            registry.conclude(served, judged, final, decided, made_from, seen, notes)
            if decided.outcome == "testing" and champion:
                rollout.start(self._workshop, self._scenario, served.version, champion)
        return decided

    def _exposures(self) -> tuple[LoggedAnswer, ...]:
        """Answers of the holdout period whose places were drawn with known chances."""
        cuts = self._snapshot.cuts
        if cuts is None or plugins.part("scenarios", self._scenario, "recipe").ANSWERS != "products":
            return ()
        return drawn_answers(self._workshop, self._scenario, cuts.holdout, cuts.end)

    @property
    def _policy(self) -> Policy:
        chosen = self._settings.gate
        return Policy(chosen.margin, chosen.slice_units, chosen.latency_ms, chosen.unfairness)

    def _packed(self, bundle: Bundle, form: str) -> Candidate:
        """A bundle beside the float models that it was made from."""
        return Candidate(bundle.version, self._workshop.open_version(bundle.version), self._work / form)

    @cached_property
    def _data(self) -> Held:
        return Held(self._snapshot, self._settings.weights, self._scenario, self._settings.train.worth)

    @property
    def _learnt_from(self) -> str:
        """Names what models learn from: the snapshot, and what its events count where the shop says so."""
        weights, worth = self._settings.weights, self._settings.train.worth
        said = f" {sorted(weights.items())} {worth}" if weights or worth else ""
        return sha256(f"{self._snapshot.digest}{said}".encode()).hexdigest() if said else self._snapshot.digest

    def _repeat(self, tuned: Tuned, name: str, past: Past, judged: Bundle | None = None) -> Bundle:
        """``judged`` is the file whose forms are taken again; before there is one, what was decided with the weights."""
        settled = tuned.settled if tuned.settled.weights else None
        plan = replace(self._plan, settings=tuned.settled.settings)
        checkpoint, used = train(
            self._recipe,
            past,
            self._learnt_from,
            name,
            plan,
            self._work / name,
            self._workshop.progress,
            settled=settled,
            decided=self._work / "fit",
        )
        repeat: dict[str, str] | None = judged.notes["kept"] if judged else tuned.compressed.kept if settled else None
        if repeat and settled and (dull := settled.notes.get("fell_back_to")):
            # Forms were judged in a blend, not where one model answers alone.
            repeat = {model: gentlest(model) for model in repeat if model == dull}
        small = compress(checkpoint, past, plan, self._work / f"{name}-small", self._workshop.progress, repeat=repeat)
        steps = self._tried(judged) if judged else small.steps or tuned.compressed.steps
        notes = {
            "form": name,
            "snapshot": self._snapshot.digest,
            "logged": self._snapshot.logged,
            "settled": asdict(used),
            "compression": [s.repeatable() for s in steps],
            "kept": small.kept if repeat is None else repeat,
            "samples": samples.taken(self._scenario, small.folder),
            "models": checkpoint.notes,
            "vetrina": VERSION,
        }
        bundle = self._shop.bundles.pack(small.folder, self._scenario, _plain(notes))
        write_bytes(self._forms_file(bundle.version), msgspec.json.encode(steps))
        return bundle

    def _tried(self, bundle: Bundle) -> tuple[CompressionStep, ...]:
        """The forms that were tried for a version, with their work where that lies beside it."""
        file, kind = self._forms_file(bundle.version), tuple[CompressionStep, ...]
        if file.exists():
            return msgspec.json.decode(file.read_bytes(), type=kind)
        return msgspec.convert(bundle.notes["compression"], type=kind)

    def _forms_file(self, version: str) -> Path:
        return self._shop.reports / f"{version}.forms.json"

    def _champion_twin(self) -> Candidate | None:
        """The champion's blend and settings on this run's past. Equal fits are taken from the model cache."""
        version = self._workshop.champion(self._scenario)
        if version is None:
            return None
        bundle, _ = self._shop.bundles.unpack(version)
        settled = Settled(**bundle.notes["settled"])
        weighed = {m for weights in settled.weights.values() for m, weight in weights.items() if weight}
        if not all(plugins.has_part("models", m, "train") for m in weighed & set(plugins.names("models"))):
            return self._as_it_was_judged(version)
        with self._stage("train champion"):
            plan, past = replace(self._plan, settings=settled.settings), self._data.judged()
            checkpoint, _ = train(
                self._recipe,
                past,
                self._learnt_from,
                "judged",
                plan,
                self._work / "champion",
                self._workshop.progress,
                settled=settled,
                decided=self._workshop.open_version(version),
            )
            small = compress(
                checkpoint,
                past,
                plan,
                self._work / "champion-small",
                self._workshop.progress,
                repeat=bundle.notes["kept"],
            )
        return Candidate(version, small.folder)

    def _as_it_was_judged(self, version: str) -> Candidate:
        """The judged file of a champion with models that are no longer learnt: older than the candidate's past, but its own."""
        judged = self._workshop.registry.show(version)["judged"]
        return Candidate(judged, self._workshop.open_version(judged))

    def _exposures_last_day(self) -> int:
        if plugins.part("scenarios", self._scenario, "recipe").ANSWERS != "products":
            return 0
        query = (
            select(func.count())
            .select_from(exposures)
            .where(exposures.c.scenario == self._scenario, exposures.c.time >= clock.now() - clock.DAY)
        )
        with self._workshop.engine.connect() as connection:
            return connection.execute(query).scalar() or 0

    def _kept(self, name: str, work: Callable[[], Result], *, timed: bool = False) -> Result:
        """A step of the journal: done once in a run, however often the run is cut off."""
        if not timed:
            return self._workshop.journal.step(name, work)

        def watched() -> Result:
            with self._stage(name):
                return work()

        return self._workshop.journal.step(name, watched)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started, begun, worked = clock.now(), time.perf_counter(), _cpu_seconds()
        yield
        used = Used(time.perf_counter() - begun, _cpu_seconds() - worked, peak_memory_mb())
        self._workshop.registry.log_stage(self._id, self._scenario, name, started, used)


def _plain(notes: dict[str, Any]) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(notes))


def _cpu_seconds() -> float:
    """Of this process and of those it started and waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
