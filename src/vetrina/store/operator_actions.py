"""Actions of an operator: promotion of a version and rollback."""

from contextlib import suppress
from typing import Any
from uuid import uuid4

from vetrina.bundle.bundles import BundleStore
from vetrina.core.errors import Conflict, NotFound
from vetrina.store.registry import ROLLBACK, Registry
from vetrina.store.rollouts import RolloutStore

_MAX_ATTEMPTS = 5  # of a rollback, while others move the champion pointer


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
    scenario = registry.get_version(version).scenario
    bundles.unpack(version)
    return registry.set_champion(scenario, version, "promoted by an operator")


def rollback(
    registry: Registry, rollouts: RolloutStore, bundles: BundleStore, scenario: str, leaving: str | None = None
) -> dict[str, Any]:
    """Leave a version: end the rollout that tests or watches it, or make the champion before it the champion again.

    Repeated, it changes nothing. A version that was rolled back is none to go back to until somebody promotes it.

    Args:
        registry: Versions and champions.
        rollouts: Rollouts of the shop.
        bundles: Bundles of the shop; the bundle of the version to go back to must be readable.
        scenario: The scenario.
        leaving: The version to leave. Without it: the candidate of the running rollout, else the champion, unless the last
            thing that happened was a rollback.

    Returns:
        ``scenario``, the champion as ``version``, the version that does not serve any more as ``from``, whether this call
        ``changed`` anything, and a ``note`` in words.

    Raises:
        NotFound: There is no version to go back to, or ``leaving`` never was a version of the scenario.
        BadSignature: The bundle of the version to go back to was changed.
        Conflict: Others keep moving the champion pointer.
    """
    if leaving is None:
        just_left = _version_just_left(registry, rollouts, scenario)
        if just_left is not None:
            return _unchanged(registry, scenario, just_left)
        leaving = _newest_version(registry, rollouts, scenario)
    for _ in range(_MAX_ATTEMPTS):
        with suppress(Conflict):  # what another one wrote meanwhile is read again
            return _leave(registry, rollouts, bundles, scenario, leaving)
    raise Conflict(scenario, "was changed by others meanwhile", "look at `vetrina versions`, then repeat")


def _version_just_left(registry: Registry, rollouts: RolloutStore, scenario: str) -> str | None:
    """The version that a rollback left, if nothing has happened in the scenario since."""
    if rollouts.running_or_unreadable(scenario) is not None:
        return None
    just_left = registry.serving_history(scenario).just_left
    if just_left is not None:
        return just_left
    newest = next((row for row in rollouts.list_rollouts() if row.scenario == scenario), None)
    if newest is None or newest.kind != "canary" or newest.state != "rolled back":
        return None
    promotions = registry.promotions(scenario)
    ended = rollouts.decision_log(newest.release)[-1].now
    if promotions and promotions[-1].time > ended:
        return None
    return newest.candidate


def _newest_version(registry: Registry, rollouts: RolloutStore, scenario: str) -> str:
    """The version that an operator means who names none: the candidate on trial, else the champion. Raises NotFound."""
    running = rollouts.running_or_unreadable(scenario)
    if running is not None:
        return running.rollout.candidate
    champion, _ = registry.champion(scenario)
    if champion is None:
        raise NotFound(scenario, "has no version to leave", "`vetrina versions` lists what there is")
    return champion


def _leave(
    registry: Registry, rollouts: RolloutStore, bundles: BundleStore, scenario: str, leaving: str
) -> dict[str, Any]:
    """One attempt of a rollback. Raises Conflict if another one moves the champion pointer meanwhile."""
    running = rollouts.running_or_unreadable(scenario)
    if running is not None and running.rollout.candidate == leaving:
        if running.rollout.is_watch:
            bundles.unpack(running.rollout.champion)
        was_ended = rollouts.abort(scenario, leaving) is not None
        champion, _ = registry.champion(scenario)
        # An operator may have promoted the candidate meanwhile: then it is left as the champion, too.
        if was_ended and champion != leaving:
            note = f"{leaving} is no longer tested on users; {champion} serves {scenario} alone"
            return _result(scenario, champion, leaving, note, changed=True)
    champion, fence = registry.champion(scenario)
    if champion != leaving:
        _refuse_unknown_version(registry, rollouts, scenario, leaving)
        return _unchanged(registry, scenario, leaving)
    version = registry.previous_champion(scenario)
    bundles.unpack(version)
    decision = f"{ROLLBACK}{uuid4().hex}"
    registry.promote(scenario, version, (champion, fence), decision, "rolled back by an operator")
    note = f"{version} serves {scenario} again, instead of {leaving}"
    return _result(scenario, version, leaving, note, changed=True)


def _refuse_unknown_version(registry: Registry, rollouts: RolloutStore, scenario: str, version: str) -> None:
    """Raise NotFound for a version that neither served nor was tested: a typing error must not look like a rollback."""
    known_versions = {entry.new for entry in registry.promotions(scenario)}
    known_versions |= {row.candidate for row in rollouts.list_rollouts() if row.scenario == scenario}
    if version not in known_versions:
        way_out = "`vetrina versions` lists what serves"
        raise NotFound(version, f"neither served {scenario} nor was it tested there", way_out)


def _unchanged(registry: Registry, scenario: str, left: str) -> dict[str, Any]:
    """The result of a rollback that finds its version left already."""
    champion, _ = registry.champion(scenario)
    note = f"nothing changed: {left} does not serve {scenario}, {champion} does"
    if registry.serving_history(scenario).previous is not None:
        note = f"{note}; to leave that, too: vetrina rollback {scenario} --from {champion}"
    return _result(scenario, champion, left, note, changed=False)


def _result(scenario: str, champion: str | None, left: str, note: str, *, changed: bool) -> dict[str, Any]:
    return {"scenario": scenario, "version": champion or "", "from": left, "changed": changed, "note": note}
