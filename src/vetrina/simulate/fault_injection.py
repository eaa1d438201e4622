"""Fault injection: starts a live release of a candidate that bypasses the gate, such as a better, a worse or a failing one."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from vetrina.api.shop import Shop
from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.bundle.manifest import Bundle
from vetrina.bundle.object_storage import MANIFEST, SIGNATURE
from vetrina.core.errors import BadInput, NotReady
from vetrina.core.verdicts import Reason, ReleaseResult, Verdict
from vetrina.data import dataset
from vetrina.models.drill.online import FAULT_KINDS
from vetrina.pipeline.rollout_controller import start_rollout
from vetrina.pipeline.run import Run
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
        candidate = _register(shop, _pack_variant(shop, scenario, champion, kind, _blend_weights(kind)), champion, kind)
    start_rollout(shop.shop_context, scenario, candidate, champion)
    return candidate


def inject_refresh(shop: Shop, kind: str, scenario: str = "recommend") -> ReleaseResult:
    """Release an injected candidate as a run does whose gate it passed: as a refresh of the champion.

    Args:
        shop: the shop, with a champion that was trained with the settings of now.
        kind: "same", "worse" or a fault, as for ``inject_candidate``.
        scenario: the scenario to release for.

    Returns:
        The release decision.

    Raises:
        NotReady: nothing serves yet.
    """
    champion = _champion(shop, scenario)
    bundle = _pack_variant(shop, scenario, champion, kind, _blend_weights(kind))
    record = shop.shop_context.registry.get_version(champion)
    snapshot = dataset.open_snapshot(shop.folder.snapshots, record.snapshot)
    verdict = Verdict(f"inject-{bundle.digest[:24]}", bundle.version, champion, "pass", (_reason(kind),), None)
    return Run(shop.shop_context, snapshot, scenario).release(bundle, bundle, verdict)


def serve_popularity_baseline(shop: Shop, scenario: str = "recommend") -> str:
    """Make a popularity baseline the champion, so that the shop's own blend can be shown to be better. Returns its version."""
    champion = _champion(shop, scenario)
    bundle = _pack_variant(shop, scenario, champion, "dull", _POPULARITY_WEIGHTS)
    baseline = _register(shop, bundle, champion, "dull")
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


def _pack_variant(shop: Shop, scenario: str, version: str, kind: str, weights: dict[str, float] | None) -> Bundle:
    """Pack a copy of a version with other blend weights, signed like any other.

    Args:
        shop: the shop.
        scenario: the scenario of the version.
        version: the version to copy.
        kind: a kind of candidate, or "dull" for a baseline.
        weights: weights for every placement, or None for those of the version.

    Returns:
        The bundle of the copy.
    """
    bundle, folder = shop.folder.bundles.unpack(version)
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
        return shop.folder.bundles.pack(copy, scenario, replace(bundle.record, injected=kind))


def _register(shop: Shop, bundle: Bundle, copied_from: str, kind: str) -> str:
    """Record a packed copy of the version ``copied_from``, as if the gate had let it pass; returns its version."""
    registry = shop.shop_context.registry
    copied = registry.get_version(copied_from)
    reason = _reason(kind)
    verdict = Verdict(f"plant-{bundle.digest[:24]}", bundle.version, copied_from, "pass", (reason,), None)
    release = ReleaseResult(bundle.version, bundle.scenario, "live", "testing", verdict.id, reason.text)
    registration = VersionRegistration(
        bundle=bundle,
        judged_bundle=bundle,
        verdict=verdict,
        release=release,
        snapshot=copied.snapshot,
        recipe_digest=f"planted {kind}",
        expected_champion=(None, 0),
        run=copied.run,
    )
    registry.register_version(registration)
    return bundle.version


def _reason(kind: str) -> Reason:
    return Reason("planted", True, f"injected ({kind}), not judged by the gate")


def _add_faulty_model(bundle_folder: Path, kind: str, content: dict[str, Any]) -> None:
    """Add model ``drill`` to a bundle, and to the ``content`` of its scenario.json."""
    content["models"].append("drill")
    n_products = len(CatalogueIndex(bundle_folder / "catalogue"))
    model_folder = bundle_folder / "drill"
    model_folder.mkdir()
    (model_folder / "drill.json").write_bytes(msgspec.json.encode({"kind": kind, "items": n_products}))
