"""Plants a candidate into a shop, round the gate: a better one, a worse one, or one that misbehaves."""

import shutil
import tempfile
from pathlib import Path

import msgspec

from vetrina.core.errors import BadInput, NotReady
from vetrina.core.types import Reason, ReleaseResult, Verdict
from vetrina.models.drill.online import FAULT_KINDS
from vetrina.pipeline.api import Shop
from vetrina.pipeline.rollout_controller import start_rollout
from vetrina.retrieval.catalogue_index import CatalogueIndex
from vetrina.store.object_storage import MANIFEST, SIGNATURE

CANDIDATE_KINDS = ("better", "worse", "same", *FAULT_KINDS)
_POPULARITY_WEIGHTS = {"popular": 1.0}


def inject_candidate(shop: Shop, kind: str, scenario: str = "recommend") -> str:
    """Send a planted candidate among shoppers; returns its version. Raises BadInput for an unknown kind.

    ``worse`` shows everybody what sells. ``better`` is the shop's own blend: see ``make_dull``.
    """
    if kind not in CANDIDATE_KINDS:
        raise BadInput(f"plant {kind!r}", "is unknown", f"use one of {', '.join(CANDIDATE_KINDS)}")
    registry = shop.shop_context.registry
    champion, _ = registry.champion(scenario)
    if champion is None:
        raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")
    if kind == "better":
        candidate = registry.previous_champion(scenario)
        start_rollout(shop.shop_context, scenario, candidate, champion)
        return candidate
    weights = (
        _POPULARITY_WEIGHTS if kind == "worse" else {"drill": 1.0, "popular": 0.5} if kind in FAULT_KINDS else None
    )
    candidate = _pack_variant(shop, scenario, champion, kind, weights)
    start_rollout(shop.shop_context, scenario, candidate, champion)
    return candidate


def serve_popularity_baseline(shop: Shop, scenario: str = "recommend") -> str:
    """Let a version serve that shows everybody what sells, so that the shop's own blend has something to be better than."""
    champion, _ = shop.shop_context.registry.champion(scenario)
    if champion is None:
        raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")
    dull = _pack_variant(shop, scenario, champion, "dull", _POPULARITY_WEIGHTS)
    shop.shop_context.registry.set_champion(scenario, dull, "planted: a dull champion")
    return dull


def _pack_variant(shop: Shop, scenario: str, version: str, kind: str, weights: dict[str, float] | None) -> str:
    """A copy of a version with other weights, packed, signed and on record like any other."""
    shop_context = shop.shop_context
    bundle, folder = shop.folder.bundles.unpack(version)
    shown = shop_context.registry.get_version(version)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch) / "bundle"))
        for name in (MANIFEST, SIGNATURE):
            (copy / name).unlink()
        content = msgspec.json.decode((copy / "scenario.json").read_bytes())
        if kind in FAULT_KINDS:
            content["models"].append("drill")
            (copy / "drill").mkdir()
            items = len(CatalogueIndex(copy / "shelf"))
            (copy / "drill" / "drill.json").write_bytes(msgspec.json.encode({"kind": kind, "items": items}))
        if weights is not None:
            content["weights"] = dict.fromkeys(content["weights"], weights)
        (copy / "scenario.json").write_bytes(msgspec.json.encode(content))
        notes = {**bundle.notes, "planted": kind}
        packed = shop.folder.bundles.pack(copy, scenario, notes)
    reason = Reason("planted", True, f"planted by hand ({kind}), not judged by the gate")
    verdict = Verdict(f"plant-{packed.digest[:24]}", packed.version, version, "pass", (reason,), None)
    release = ReleaseResult(packed.version, scenario, "live", "testing", verdict.id, reason.text)
    made_from = (shown["snapshot"], f"planted {kind}")
    shop_context.registry.register_version(packed, packed, verdict, release, made_from, (None, 0), dict(shown["notes"]))
    return packed.version
