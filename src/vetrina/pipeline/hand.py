"""What a person may do to the pointer."""

from uuid import uuid4

from vetrina.pipeline.compose import Workshop


def promote(workshop: Workshop, version: str) -> dict[str, str]:
    """Let ``version`` serve. Its signature and parts are checked first."""
    scenario = workshop.registry.show(version)["scenario"]
    workshop.open_version(version)
    return _move(workshop, scenario, version, "promoted by hand")


def rollback(workshop: Workshop, scenario: str) -> dict[str, str]:
    """Back to the version before the champion."""
    return _move(workshop, scenario, workshop.registry.before_champion(scenario), "rolled back by hand")


def _move(workshop: Workshop, scenario: str, version: str, why: str) -> dict[str, str]:
    seen = workshop.registry.champion(scenario)
    if seen[0] != version:
        workshop.registry.promote(scenario, version, seen, f"hand:{uuid4().hex}", why)
    return {"scenario": scenario, "version": version}
