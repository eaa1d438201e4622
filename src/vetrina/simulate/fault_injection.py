"""Fault injection: starts a live release of a candidate that bypasses the gate, such as a better, a worse or a failing one."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from vetrina.core.errors import BadInput, NotReady
from vetrina.core.types import Reason, ReleaseResult, Verdict
from vetrina.models.drill.online import FAULT_KINDS
from vetrina.pipeline.api import Shop
from vetrina.pipeline.rollout_controller import start_rollout
from vetrina.retrieval.catalogue_index import CatalogueIndex
from vetrina.store.object_storage import MANIFEST, SIGNATURE
from vetrina.store.registry import VersionRegistration

CANDIDATE_KINDS = ("better", "worse", "same", *FAULT_KINDS)
_POPULARITY_WEIGHTS = {"popular": 1.0}
_FAULTY_WEIGHTS = {"drill": 1.0, "popular": 0.5}


def inject_candidate(shop: Shop, kind: str, scenario: str = "recommend") -> str:
    """Start a live release of an injected candidate, and return its version.

    Args:
        shop: the shop, with a champion.
        kind: "better" is the champion before ``serve_popularity_baseline``; "worse" a popularity baseline; "same" a copy of the
            champion; the others contain a model that fails.
        scenario: the scenario to release for.

    Returns:
        The version of the candidate.

    Raises:
        BadInput: the kind is unknown.
        NotReady: nothing serves yet.
    """
    if kind not in CANDIDATE_KINDS:
        raise BadInput(f"candidate {kind!r}", "is unknown", f"use one of {', '.join(CANDIDATE_KINDS)}")
    champion = _champion(shop, scenario)
    if kind == "better":
        candidate = shop.shop_context.registry.previous_champion(scenario)
    else:
        candidate = _pack_variant(shop, scenario, champion, kind, _blend_weights(kind))
    start_rollout(shop.shop_context, scenario, candidate, champion)
    return candidate


def serve_popularity_baseline(shop: Shop, scenario: str = "recommend") -> str:
    """Make a popularity baseline the champion, so that the shop's own blend can be shown to be better. Returns its version."""
    champion = _champion(shop, scenario)
    baseline = _pack_variant(shop, scenario, champion, "dull", _POPULARITY_WEIGHTS)
    shop.shop_context.registry.set_champion(scenario, baseline, "injected: a popularity baseline")
    return baseline


def _champion(shop: Shop, scenario: str) -> str:
    champion, _ = shop.shop_context.registry.champion(scenario)
    if champion is None:
        raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")
    return champion


def _blend_weights(kind: str) -> dict[str, float] | None:
    """Weights of the models in a candidate's blend, or None for those of the champion."""
    if kind == "worse":
        return _POPULARITY_WEIGHTS
    if kind in FAULT_KINDS:
        return _FAULTY_WEIGHTS
    return None


def _pack_variant(shop: Shop, scenario: str, version: str, kind: str, weights: dict[str, float] | None) -> str:
    """Register a copy of a version with other blend weights, packed and signed like any other.

    Args:
        shop: the shop.
        scenario: the scenario of the version.
        version: the version to copy.
        kind: a kind of candidate, or "dull" for a baseline.
        weights: weights for every placement, or None for those of the version.

    Returns:
        The version of the copy.
    """
    shop_context = shop.shop_context
    bundle, folder = shop.folder.bundles.unpack(version)
    record = shop_context.registry.get_version(version)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch) / "bundle"))
        for name in (MANIFEST, SIGNATURE):
            (copy / name).unlink()
        scenario_file = copy / "scenario.json"
        content = msgspec.json.decode(scenario_file.read_bytes())
        if kind in FAULT_KINDS:
            _add_faulty_model(copy, kind, content)
        if weights is not None:
            content["weights"] = dict.fromkeys(content["weights"], weights)
        scenario_file.write_bytes(msgspec.json.encode(content))
        notes = {**bundle.notes, "planted": kind}
        packed = shop.folder.bundles.pack(copy, scenario, notes)
    reason = Reason("planted", True, f"injected ({kind}), not judged by the gate")
    verdict = Verdict(f"plant-{packed.digest[:24]}", packed.version, version, "pass", (reason,), None)
    release = ReleaseResult(packed.version, scenario, "live", "testing", verdict.id, reason.text)
    made_from = (record["snapshot"], f"planted {kind}")
    registration = VersionRegistration(packed, packed, verdict, release, made_from, (None, 0), dict(record["notes"]))
    shop_context.registry.register_version(registration)
    return packed.version


def _add_faulty_model(bundle_folder: Path, kind: str, content: dict[str, Any]) -> None:
    """Add model ``drill`` to a bundle, and to the ``content`` of its scenario.json."""
    content["models"].append("drill")
    n_products = len(CatalogueIndex(bundle_folder / "shelf"))
    model_folder = bundle_folder / "drill"
    model_folder.mkdir()
    (model_folder / "drill.json").write_bytes(msgspec.json.encode({"kind": kind, "items": n_products}))
