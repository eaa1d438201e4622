"""A few requests with their answers, kept in a bundle: whether it answers here as it did where it was made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vetrina.core import cpu_features, plugins
from vetrina.core.errors import UnusableVariant
from vetrina.scenarios.agreement import compare_answers

_SAMPLED_REQUESTS = 24
_MIN_AGREEMENT = 0.9


def sample_answers(scenario: str, folder: Path) -> dict[str, Any]:
    """Of a folder on this machine, as JSON holds it."""
    evaluation = plugins.load_module("scenarios", scenario, "evaluate")
    asked = evaluation.sample_requests(folder, _SAMPLED_REQUESTS)
    return {
        "processor": cpu_features.cpu_description(),
        "asked": asked,
        "answers": evaluation.answer_requests(folder, asked),
    }


def verify_samples(
    scenario: str, folder: Path, samples: Mapping[str, Any] | None, processor_kind: str | None = None
) -> None:
    """Asks once more where the processor is of another kind than the one that the samples were taken on.

    Raises Unfit where fewer than nine in ten answers are as they were.
    """
    processor_kind = processor_kind or cpu_features.cpu_description()
    if not samples or samples["processor"] == processor_kind:
        return
    given = plugins.load_module("scenarios", scenario, "evaluate").answer_requests(folder, samples["asked"])
    found = compare_answers(given, samples["answers"])
    if found.share < _MIN_AGREEMENT:
        raise UnusableVariant(
            f"gives {found.share:.0%} of the answers that it gave on {samples['processor']} "
            f"({_MIN_AGREEMENT:.0%} asked for): it was "
            f"made small for another processor than {processor_kind}; train on this kind of machine"
        )
