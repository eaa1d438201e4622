"""Plants a candidate into a shop, round the gate: a better one, a worse one, or one that misbehaves."""

import shutil
import tempfile
from pathlib import Path

import msgspec

from vetrina.core.errors import BadInput, NotReady
from vetrina.core.types import Reason, Release, Verdict
from vetrina.models.drill.online import KINDS
from vetrina.pipeline.rollout import start
from vetrina.pipeline.shop import Shop
from vetrina.retrieval.shelf import Shelf
from vetrina.store.remote import MANIFEST, SIGNATURE

PLANTS = ("better", "worse", "same", *KINDS)
_DULL = {"popular": 1.0}


def plant(shop: Shop, kind: str, scenario: str = "recommend") -> str:
    """Send a planted candidate among shoppers; returns its version. Raises BadInput for an unknown kind.

    ``worse`` shows everybody what sells. ``better`` is the shop's own blend: see ``make_dull``.
    """
    if kind not in PLANTS:
        raise BadInput(f"plant {kind!r}", "is unknown", f"use one of {', '.join(PLANTS)}")
    registry = shop.workshop.registry
    champion, _ = registry.champion(scenario)
    if champion is None:
        raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")
    if kind == "better":
        candidate = registry.before_champion(scenario)
        start(shop.workshop, scenario, candidate, champion)
        return candidate
    weights = _DULL if kind == "worse" else {"drill": 1.0, "popular": 0.5} if kind in KINDS else None
    candidate = _variant(shop, scenario, champion, kind, weights)
    start(shop.workshop, scenario, candidate, champion)
    return candidate


def make_dull(shop: Shop, scenario: str = "recommend") -> str:
    """Let a version serve that shows everybody what sells, so that the shop's own blend has something to be better than."""
    champion, _ = shop.workshop.registry.champion(scenario)
    if champion is None:
        raise NotReady(scenario, "has no released version yet", f"run `vetrina run {scenario}`")
    dull = _variant(shop, scenario, champion, "dull", _DULL)
    shop.workshop.registry.point_to(scenario, dull, "planted: a dull champion")
    return dull


def _variant(shop: Shop, scenario: str, version: str, kind: str, weights: dict[str, float] | None) -> str:
    """A copy of a version with other weights, packed, signed and on record like any other."""
    workshop = shop.workshop
    bundle, folder = shop.folder.bundles.unpack(version)
    shown = workshop.registry.show(version)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch) / "bundle"))
        for name in (MANIFEST, SIGNATURE):
            (copy / name).unlink()
        content = msgspec.json.decode((copy / "scenario.json").read_bytes())
        if kind in KINDS:
            content["models"].append("drill")
            (copy / "drill").mkdir()
            items = len(Shelf(copy / "shelf"))
            (copy / "drill" / "drill.json").write_bytes(msgspec.json.encode({"kind": kind, "items": items}))
        if weights is not None:
            content["weights"] = dict.fromkeys(content["weights"], weights)
        (copy / "scenario.json").write_bytes(msgspec.json.encode(content))
        notes = {**bundle.notes, "planted": kind}
        packed = shop.folder.bundles.pack(copy, scenario, notes)
    reason = Reason("planted", True, f"planted by hand ({kind}), not judged by the gate")
    verdict = Verdict(f"plant-{packed.digest[:24]}", packed.version, version, "pass", (reason,), None)
    release = Release(packed.version, scenario, "live", "testing", verdict.id, reason.text)
    made_from = (shown["snapshot"], f"planted {kind}")
    workshop.registry.conclude(packed, packed, verdict, release, made_from, (None, 0), dict(shown["notes"]))
    return packed.version
