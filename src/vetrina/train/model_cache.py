"""Model cache of a shop, keyed by data and settings; source of warm starts.

An interrupted run finds the models that it finished; a later run may start training from the state of an earlier fit.
"""

import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec

from vetrina.core.files import atomic_folder, remove_folder, remove_leftovers
from vetrina.core.progress import Progress
from vetrina.core.training_data import WARM_START_FILE, TrainingData
from vetrina.core.training_plan import TrainingPlan, TrainNotes
from vetrina.core.version import BUNDLE_FORMAT
from vetrina.models.base import find_model

_NOTES_FILE = "notes.json"
_ORIGIN_FILE = "made.json"
_CACHE_ONLY_FILES = (_NOTES_FILE, _ORIGIN_FILE, WARM_START_FILE)  # not copied into a checkpoint
_KEY_LENGTH = 24  # hex digits
_SPLITS_FROM_LEAST = ("fit", "judged", "served")  # each sees what the one before it sees, and more


class _Origin(msgspec.Struct, frozen=True):
    """What a cached model was fitted on: the part of the snapshot, and the moment in seconds at which its data end."""

    form: str
    until: float


def fit_cached(
    name: str,
    training_data: TrainingData,
    digest: str,
    data_split: str,
    plan: TrainingPlan,
    into: Path,
    progress: Progress,
) -> TrainNotes:
    """Put a fitted model into ``into / name``, from the cache where it is there, and return its notes.

    A warm start continues the newest cached fit on a shorter past, of the same data split or of one that sees less: the judged
    fit continues the one that tuning was done with, the served fit the judged one. It never takes one of a split that sees more.

    Args:
        name: Model to fit.
        training_data: Prepared training data.
        digest: Digest of the training data.
        data_split: ``fit``, ``judged`` or ``served``.
        plan: Seed, hyper-parameters, warm start.
        into: Folder of the checkpoint; the cache is ``models`` beside it.
        progress: Where the fit reports.

    Returns:
        Notes of the model's training.
    """
    cache_folder = into.parent / "models"
    warm_start_folder = None
    if plan.warm:
        warm_start_folder = _warm_start_source(cache_folder, name, data_split, training_data, plan.begin_before)
    cached = cache_folder / f"{name}-{_cache_key(name, digest, data_split, plan, warm_start_folder)}"
    if not cached.exists():
        with atomic_folder(cached) as folder:
            _fit(name, training_data, data_split, plan, warm_start_folder, folder, progress)
    shutil.copytree(
        cached,
        into / name,
        copy_function=_hardlink,
        ignore=shutil.ignore_patterns(*_CACHE_ONLY_FILES),
    )
    return msgspec.json.decode((cached / _NOTES_FILE).read_bytes(), type=TrainNotes)


def evict(cache_folder: Path, keep_newest: int) -> int:
    """Remove all but the ``keep_newest`` fits of each model and data split; returns the bytes freed.

    A fit that is needed again later is computed again.
    """
    remove_leftovers(cache_folder)
    groups: dict[tuple[str, str], list[tuple[float, float, Path]]] = {}
    for folder in cache_folder.glob("*-*"):
        if (folder / _ORIGIN_FILE).exists():
            origin = _read_origin(folder)
            name = folder.name.rpartition("-")[0]
            group = groups.setdefault((name, origin.form), [])
            group.append((origin.until, folder.stat().st_mtime, folder))
    freed_bytes = 0
    for group in groups.values():
        for _, _, folder in sorted(group)[:-keep_newest]:
            freed_bytes += _unshared_bytes(folder)
            remove_folder(folder)
    return freed_bytes


def _fit(
    name: str,
    training_data: TrainingData,
    data_split: str,
    plan: TrainingPlan,
    warm_start_folder: Path | None,
    folder: Path,
    progress: Progress,
) -> None:
    """Fit a model into a folder of the cache, with its notes and origin."""
    warm_start_file = None
    if warm_start_folder is not None:
        warm_start_file = warm_start_folder / WARM_START_FILE
    training_data = replace(training_data, warm_start_file=warm_start_file)
    notes = find_model(name).fit(training_data, plan, folder, progress)
    if warm_start_folder is not None:
        notes = replace(notes, report={**notes.report, "began_from": warm_start_folder.name})
    origin = _Origin(data_split, _data_end(training_data))
    (folder / _NOTES_FILE).write_bytes(msgspec.json.encode(notes))
    (folder / _ORIGIN_FILE).write_bytes(msgspec.json.encode(origin))


def _cache_key(name: str, digest: str, data_split: str, plan: TrainingPlan, warm_start_folder: Path | None) -> str:
    """Hash of everything that shapes a fit. The order of the parts is part of the key."""
    text = f"{name} {digest} {data_split} {plan.seed} {sorted(plan.settings.get(name, {}).items())}"
    if plan.halvings:
        text += f" {plan.n_chunks}"
    if warm_start_folder:
        text += f" {warm_start_folder.name}"
    text += f" {plan.encoder} {plan.optimiser} {plan.loss}"
    if find_model(name).is_external:
        text += f" {Path(plan.foreign).name} {plan.foreign_inputs}"  # the file's name is a hash of its content
    text += f" {BUNDLE_FORMAT}"  # a fit's files go into a bundle unchanged
    return sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


def _warm_start_source(
    cache_folder: Path, name: str, data_split: str, training_data: TrainingData, latest_end: float
) -> Path | None:
    """The newest cached fit of a split that sees no more, whose data end earlier, and at ``latest_end`` at the latest."""
    splits = _SPLITS_FROM_LEAST[: _SPLITS_FROM_LEAST.index(data_split) + 1]
    candidates: list[tuple[float, str, Path]] = []
    for folder in cache_folder.glob(f"{name}-*"):
        if not (folder / WARM_START_FILE).exists() or not (folder / _ORIGIN_FILE).exists():
            continue
        origin = _read_origin(folder)
        is_shorter = origin.until < _data_end(training_data) and origin.until <= latest_end
        if origin.form in splits and is_shorter:
            candidates.append((origin.until, folder.name, folder))
    if not candidates:
        return None
    return max(candidates)[2]


def _read_origin(folder: Path) -> _Origin:
    return msgspec.json.decode((folder / _ORIGIN_FILE).read_bytes(), type=_Origin)


def _data_end(training_data: TrainingData) -> float:
    if training_data.interactions is None:
        return 0.0
    return training_data.interactions.until


def _unshared_bytes(folder: Path) -> int:
    """Size of the files that no checkpoint links to: only these free space when they are removed."""
    total = 0
    for file in folder.rglob("*"):
        if file.is_file() and file.stat().st_nlink == 1:
            total += file.stat().st_size
    return total


def _hardlink(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
