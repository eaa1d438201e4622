"""What an operator may do to the pointer: promote a version, or go back to the one before."""

from vetrina.store.bundles import BundleStore
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore


def promote(registry: Registry, bundles: BundleStore, version: str) -> dict[str, str]:
    """Let ``version`` serve. Raises NotFound and BadSignature: what cannot be opened gets no pointer."""
    scenario = registry.get_version(version)["scenario"]
    bundles.unpack(version)
    return registry.set_champion(scenario, version, "promoted by hand")


def rollback(registry: Registry, rollouts: RolloutStore, bundles: BundleStore, scenario: str) -> dict[str, str]:
    """Take a candidate out that is among shoppers; without one, back to the version before the champion.

    Args:
        registry: versions and the pointer.
        rollouts: releases among shoppers.
        bundles: where the version to go back to must lie, readable.
        scenario: whose pointer moves.

    Returns:
        ``scenario``, the ``version`` that serves now and, where a candidate was taken out, its version as ``out``.

    Raises:
        NotFound: there is no version before this one. BadSignature: its bundle was changed.
    """
    if candidate := rollouts.abort(scenario):
        champion, _ = registry.champion(scenario)
        return {"scenario": scenario, "version": champion or "", "out": candidate}
    version = registry.previous_champion(scenario)
    bundles.unpack(version)
    return registry.set_champion(scenario, version, "rolled back by hand")
