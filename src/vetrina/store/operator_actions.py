"""Actions of an operator: promotion of a version and rollback."""

from vetrina.store.bundles import BundleStore
from vetrina.store.registry import Registry
from vetrina.store.rollouts import RolloutStore


def promote(registry: Registry, bundles: BundleStore, version: str) -> dict[str, str]:
    """Make a version the champion of its scenario.

    Args:
        registry: Versions and champions.
        bundles: Bundles of the shop; the version's bundle must be readable.
        version: The new champion.

    Returns:
        ``scenario`` and ``version``.

    Raises:
        NotFound: There is no such version, or it has no bundle.
        BadSignature: Its bundle was changed.
    """
    scenario = registry.get_version(version)["scenario"]
    bundles.unpack(version)
    return registry.set_champion(scenario, version, "promoted by an operator")


def rollback(registry: Registry, rollouts: RolloutStore, bundles: BundleStore, scenario: str) -> dict[str, str]:
    """End the scenario's rollout; without one, make the previous champion the champion again.

    A watched version gives way to the version before it.

    Args:
        registry: Versions and champions.
        rollouts: Rollouts of the shop.
        bundles: Bundles of the shop; the previous champion's bundle must be readable.
        scenario: The scenario.

    Returns:
        ``scenario``, the champion as ``version`` and, if a rollout was ended, its candidate as ``out``.

    Raises:
        NotFound: There is no previous champion.
        BadSignature: Its bundle was changed.
    """
    running = rollouts.running().get(scenario)
    if running is not None and running.rollout.is_watch:
        bundles.unpack(running.rollout.champion)
    candidate = rollouts.abort(scenario)
    if candidate:
        champion, _ = registry.champion(scenario)
        return {"scenario": scenario, "version": champion or "", "out": candidate}
    version = registry.previous_champion(scenario)
    bundles.unpack(version)
    return registry.set_champion(scenario, version, "rolled back by an operator")
