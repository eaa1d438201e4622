"""Decisions of the gate and of the release stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Reference:
    """What a candidate was compared with.

    Attributes:
        kind: The version that serves, or a simple model of the candidate's own.
        name: The version, or the model.
        quality: Its mean metric on the holdout.
    """

    kind: Literal["champion", "baseline"]
    name: str
    quality: float


@dataclass(frozen=True)
class Reason:
    """One finding of the gate or of a rollout.

    Attributes:
        code: Stable name of the rule, for programs.
        passed: Whether the rule is met.
        text: The finding in a sentence, for people.
        numbers: Figures behind the finding, by name.
        evaluable: False if there was too little data to decide; such a finding neither blocks a release nor supports it.
        reference: What was compared with, for a comparison by the gate.
    """

    code: str
    passed: bool
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])
    evaluable: bool = True
    reference: Reference | None = None


VerdictOutcome = Literal["pass", "fail", "baseline"]


@dataclass(frozen=True)
class Verdict:
    """The gate's recorded decision on a candidate.

    Attributes:
        id: Identifier of the verdict.
        candidate: Version that was evaluated.
        champion: Version that it was compared with; None for the first version of a scenario.
        outcome: "baseline" where nothing could be judged and the baseline is released.
        reasons: Findings that led to the outcome.
        smallest_visible_loss: Minimum detectable relative loss of quality; None if it cannot be computed.
    """

    id: str
    candidate: str
    champion: str | None
    outcome: VerdictOutcome
    reasons: tuple[Reason, ...]
    smallest_visible_loss: float | None

    @property
    def may_release(self) -> bool:
        """True if the candidate passed, or is the baseline where nothing could be judged."""
        return self.outcome != "fail"


ReleaseOutcome = Literal["promoted", "returned", "testing"]
KindOfChange = Literal["first", "full after quick", "refresh", "change"]


@dataclass(frozen=True)
class ReleaseResult:
    """Outcome of a release.

    Attributes:
        mode: "first" version of the scenario, decided "offline" by the gate, or "live" while users are served.
        outcome: "promoted" to champion, "returned" (rejected), or "testing" in a canary.
        verdict: Identifier of the gate's verdict.
        note: The outcome in a sentence.
        kind: What the version changes: nothing served before it, it is the "full" recipe "after" a "quick" one, a "refresh" with
            newer data, or a "change" of models, settings or code; None in records of earlier versions.
        is_watched: Whether the version before goes on answering a holdback of users, so that harm is noticed.
        is_quick: Whether it is a version of the quick recipe, so that the full one is still to be trained.
    """

    version: str
    scenario: str
    mode: Literal["first", "offline", "live"]
    outcome: ReleaseOutcome
    verdict: str
    note: str
    kind: KindOfChange | None = None
    is_watched: bool = False
    is_quick: bool = False
