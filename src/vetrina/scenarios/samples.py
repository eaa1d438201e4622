"""A few requests with their answers, kept in a bundle: whether it answers here as it did where it was made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vetrina.core import plugins, processor
from vetrina.core.errors import Unfit
from vetrina.scenarios.agreement import compared

_REQUESTS, _LEAST = 24, 0.9


def taken(scenario: str, folder: Path) -> dict[str, Any]:
    """Of a folder on this machine, as JSON holds it."""
    evaluation = plugins.part("scenarios", scenario, "evaluate")
    asked = evaluation.requests(folder, _REQUESTS)
    return {"processor": processor.kind(), "asked": asked, "answers": evaluation.answers(folder, asked)}


def verify(scenario: str, folder: Path, samples: Mapping[str, Any] | None, here: str | None = None) -> None:
    """Asks once more where the processor is of another kind than the one that the samples were taken on.

    Raises Unfit where fewer than nine in ten answers are as they were.
    """
    here = here or processor.kind()
    if not samples or samples["processor"] == here:
        return
    given = plugins.part("scenarios", scenario, "evaluate").answers(folder, samples["asked"])
    found = compared(given, samples["answers"])
    if found.share < _LEAST:
        raise Unfit(
            f"gives {found.share:.0%} of the answers that it gave on {samples['processor']} ({_LEAST:.0%} asked for): it was "
            f"made small for another processor than {here}; train on this kind of machine"
        )
