"""Fitted models of a shop, kept by what went into them.

A run that was cut off goes on with the next model; a later run begins from what these learnt.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core import plugins
from vetrina.core.files import atomic_folder
from vetrina.core.progress import Progress
from vetrina.core.types import WARM_START_FILE, TrainingData, TrainingPlan
from vetrina.core.version import BUNDLE_FORMAT

_NOTES_FILE = "notes.json"
_ORIGIN_FILE = "made.json"


def fit_cached(
    name: str,
    training_data: TrainingData,
    digest: str,
    data_split: str,
    plan: TrainingPlan,
    into: Path,
    progress: Progress,
) -> Mapping[str, Any]:
    """Puts a model learnt from ``past`` into ``into / name`` and returns its notes.

    ``digest`` and ``form`` (fit, judged or served) name the past. A model that leaves something to its next training finds
    what the same form left of the newest shorter past: never another form's, which may have seen what this one is judged on.
    """
    models = into.parent / "models"
    earlier = _warm_start_source(models, name, data_split, training_data, plan.begin_before) if plan.warm else None
    kept = models / f"{name}-{_cache_key(name, digest, data_split, plan, earlier)}"
    if not kept.exists():
        with atomic_folder(kept) as folder:
            known = None if earlier is None else earlier / WARM_START_FILE
            notes = plugins.load_module("models", name, "train").fit(
                replace(training_data, warm_start_file=known), plan, folder, progress
            )
            said = {**notes, "began_from": earlier.name} if earlier else notes
            (folder / _NOTES_FILE).write_bytes(msgspec.json.encode(dict(said)))
            (folder / _ORIGIN_FILE).write_bytes(
                msgspec.json.encode({"form": data_split, "until": _data_end(training_data)})
            )
    shutil.copytree(
        kept,
        into / name,
        copy_function=_hardlink,
        ignore=shutil.ignore_patterns(_NOTES_FILE, _ORIGIN_FILE, WARM_START_FILE),
    )
    return msgspec.json.decode((kept / _NOTES_FILE).read_bytes())


def evict(cache_folder: Path, keep_newest: int) -> int:
    """Removes all but the ``keep`` newest of each model and form; one that is asked for again is fitted anew. Returns bytes."""
    kinds: dict[tuple[str, str], list[tuple[float, float, Path]]] = {}
    for folder in cache_folder.glob("*-*"):
        if (folder / _ORIGIN_FILE).exists():
            made = msgspec.json.decode((folder / _ORIGIN_FILE).read_bytes())
            name = folder.name.rpartition("-")[0]
            kinds.setdefault((name, made["form"]), []).append((made["until"], folder.stat().st_mtime, folder))
    freed = 0
    for found in kinds.values():
        for _, _, folder in sorted(found)[:-keep_newest]:
            freed += sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.stat().st_nlink == 1)
            gone = folder.with_name(f".{folder.name}")
            folder.rename(gone)  # at once: nothing half removed may be taken for a fitted model
            shutil.rmtree(gone)
    return freed


def _cache_key(name: str, digest: str, data_split: str, plan: TrainingPlan, warm_start_folder: Path | None) -> str:
    pieces = f" {plan.n_chunks}" if plan.halvings else ""
    chosen = sorted(plan.settings.get(name, {}).items())
    began = f" {warm_start_folder.name}" if warm_start_folder else ""
    how = f" {plan.encoder} {plan.optimiser} {plan.loss}"
    how += f" {plan.foreign} {plan.foreign_inputs}" if name == "onnx" else ""
    how += f" {BUNDLE_FORMAT}"  # its files go into a bundle as they are
    return sha256(f"{name} {digest} {data_split} {plan.seed} {chosen}{pieces}{began}{how}".encode()).hexdigest()[:24]


def _warm_start_source(
    cache_folder: Path, name: str, data_split: str, training_data: TrainingData, latest_end: float
) -> Path | None:
    found = []
    for folder in cache_folder.glob(f"{name}-*"):
        if (folder / WARM_START_FILE).exists() and (folder / _ORIGIN_FILE).exists():
            made = msgspec.json.decode((folder / _ORIGIN_FILE).read_bytes())
            if made["form"] == data_split and made["until"] < _data_end(training_data) and made["until"] <= latest_end:
                found.append((made["until"], folder.name, folder))
    return max(found)[2] if found else None


def _data_end(training_data: TrainingData) -> float:
    return training_data.interactions.until if training_data.interactions is not None else 0.0


def _hardlink(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
