"""What a person may do to the pointer."""

from vetrina.pipeline.workshop import Workshop


def promote(workshop: Workshop, version: str) -> dict[str, str]:
    """Let ``version`` serve. Its signature is checked first."""
    scenario = workshop.registry.show(version)["scenario"]
    workshop.open_version(version)
    return workshop.registry.point_to(scenario, version, "promoted by hand")


def rollback(workshop: Workshop, scenario: str) -> dict[str, str]:
    """Take a candidate out that is among shoppers; without one, back to the version before the champion."""
    if candidate := workshop.rollouts.take_out(scenario):
        champion, _ = workshop.registry.champion(scenario)
        return {"scenario": scenario, "version": champion or "", "out": candidate}
    version = workshop.registry.before_champion(scenario)
    return workshop.registry.point_to(scenario, version, "rolled back by hand")
