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
from vetrina.core.files import folder_beside
from vetrina.core.progress import Progress
from vetrina.core.types import MEMORY, Past, Plan
from vetrina.core.version import BUNDLE_FORMAT

_NOTES, _MADE = "notes.json", "made.json"


def fitted(
    name: str, past: Past, digest: str, form: str, plan: Plan, into: Path, progress: Progress
) -> Mapping[str, Any]:
    """Puts a model learnt from ``past`` into ``into / name`` and returns its notes.

    ``digest`` and ``form`` (fit, judged or served) name the past. A model that leaves something to its next training finds
    what the same form left of the newest shorter past: never another form's, which may have seen what this one is judged on.
    """
    models = into.parent / "models"
    earlier = _earlier(models, name, form, past, plan.begin_before) if plan.warm else None
    kept = models / f"{name}-{_key(name, digest, form, plan, earlier)}"
    if not kept.exists():
        with folder_beside(kept) as folder:
            known = None if earlier is None else earlier / MEMORY
            notes = plugins.part("models", name, "train").fit(replace(past, earlier=known), plan, folder, progress)
            said = {**notes, "began_from": earlier.name} if earlier else notes
            (folder / _NOTES).write_bytes(msgspec.json.encode(dict(said)))
            (folder / _MADE).write_bytes(msgspec.json.encode({"form": form, "until": _until(past)}))
    shutil.copytree(kept, into / name, copy_function=_link, ignore=shutil.ignore_patterns(_NOTES, _MADE, MEMORY))
    return msgspec.json.decode((kept / _NOTES).read_bytes())


def forget(models: Path, keep: int) -> int:
    """Removes all but the ``keep`` newest of each model and form; one that is asked for again is fitted anew. Returns bytes."""
    kinds: dict[tuple[str, str], list[tuple[float, float, Path]]] = {}
    for folder in models.glob("*-*"):
        if (folder / _MADE).exists():
            made, name = msgspec.json.decode((folder / _MADE).read_bytes()), folder.name.rpartition("-")[0]
            kinds.setdefault((name, made["form"]), []).append((made["until"], folder.stat().st_mtime, folder))
    freed = 0
    for found in kinds.values():
        for _, _, folder in sorted(found)[:-keep]:
            freed += sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.stat().st_nlink == 1)
            gone = folder.with_name(f".{folder.name}")
            folder.rename(gone)  # at once: nothing half removed may be taken for a fitted model
            shutil.rmtree(gone)
    return freed


def _key(name: str, digest: str, form: str, plan: Plan, earlier: Path | None) -> str:
    pieces = f" {plan.pieces}" if plan.halvings else ""
    chosen = sorted(plan.settings.get(name, {}).items())
    began = f" {earlier.name}" if earlier else ""
    how = f" {plan.encoder} {plan.optimiser} {plan.loss}"
    how += f" {plan.foreign} {plan.foreign_inputs}" if name == "onnx" else ""
    how += f" {BUNDLE_FORMAT}"  # its files go into a bundle as they are
    return sha256(f"{name} {digest} {form} {plan.seed} {chosen}{pieces}{began}{how}".encode()).hexdigest()[:24]


def _earlier(models: Path, name: str, form: str, past: Past, before: float) -> Path | None:
    found = []
    for folder in models.glob(f"{name}-*"):
        if (folder / MEMORY).exists() and (folder / _MADE).exists():
            made = msgspec.json.decode((folder / _MADE).read_bytes())
            if made["form"] == form and made["until"] < _until(past) and made["until"] <= before:
                found.append((made["until"], folder.name, folder))
    return max(found)[2] if found else None


def _until(past: Past) -> float:
    return past.interactions.until if past.interactions is not None else 0.0


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
