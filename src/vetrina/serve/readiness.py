"""When scenarios will be ready: estimates from the queue of runs.

While nothing serves a scenario, its first run releases a quick recipe where it has one. Runs of different scenarios go side by
side.
"""

from collections.abc import Collection, Sequence
from math import ceil, inf
from time import localtime, strftime

from vetrina.core import clock
from vetrina.core.errors import NotReady
from vetrina.scenarios.base import find_scenario
from vetrina.store.runs import RunRecord, RunStore

MAX_PARALLEL_RUNS = 2  # of different scenarios; each uses hardly more than one core on average
_FULL_RECIPE_SECONDS_SHARE = 0.6  # of the budget, which is an upper limit, that a run usually takes


def quick_order(scenario: str) -> tuple[float, str]:
    """Sort key of scenarios that nothing serves: the sooner its quick recipe is released the earlier, those without one last."""
    quick_recipe = find_scenario(scenario).quick_recipe
    if quick_recipe is None:
        return (inf, scenario)
    return (quick_recipe.seconds, scenario)


def expected_ends(runs: RunStore, served_scenarios: Collection[str], budget_seconds: float) -> dict[str, float]:
    """When the next unfinished run of each scenario is expected to end, in seconds since 1970.

    Args:
        runs: Runs of the shop.
        served_scenarios: Scenarios with a champion; the first run of any other one releases its quick recipe if it has one.
        budget_seconds: Time budget of a run.
    """
    now = clock.now()
    ended_runs = [run for run in runs.list_runs() if run.ended]
    free_at = [now] * MAX_PARALLEL_RUNS
    ends: dict[str, float] = {}
    for run in runs.list_unfinished():
        scenario = run.scenario
        slot = free_at.index(min(free_at))
        started = run.started or free_at[slot]
        seconds = _expected_seconds(scenario, ended_runs, served_scenarios, budget_seconds)
        end = max(started + seconds, now)
        free_at[slot] = end
        ends.setdefault(scenario, end)
    return ends


def with_ready_time(error: NotReady, ready_at: float | None) -> NotReady:
    """The error with the time at which a version is expected; as it is where none is."""
    if ready_at is None:
        return error
    seconds = max(1.0, ready_at - clock.now())
    at = strftime("%H:%M", localtime(ready_at))
    rule = f"is being trained and will be ready at about {at}, in {ceil(seconds / 60)} min"
    not_ready = NotReady(error.value, rule, "ask again then; vetrina runs shows how far it is")
    not_ready.ready_in_seconds = seconds
    return not_ready


def _expected_seconds(
    scenario: str, ended_runs: Sequence[RunRecord], served_scenarios: Collection[str], budget_seconds: float
) -> float:
    quick_seconds, _ = quick_order(scenario)
    if scenario not in served_scenarios and quick_seconds < inf:
        return quick_seconds
    usual_seconds = _FULL_RECIPE_SECONDS_SHARE * budget_seconds
    for run in ended_runs:
        if run.scenario == scenario and run.state == "done" and run.seconds is not None:
            # A run that found nothing new, or released the quick recipe, says nothing about a full one.
            return max(run.seconds, usual_seconds)
    return usual_seconds
