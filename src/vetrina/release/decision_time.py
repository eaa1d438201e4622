"""Days that a canary takes until it can be decided, estimated from the traffic before it. Pure."""

from dataclasses import dataclass
from math import ceil, inf, sqrt

from vetrina.core.settings import ReleaseSettings
from vetrina.evaluation.sequential import EffectEstimate, confidence_radius

_MINUTES_PER_DAY = 1_440.0
_HOURS_PER_DAY = 24.0
_MAX_UNITS = 1e12  # more than any shop has: a margin that would need them is never decided


@dataclass(frozen=True)
class TrafficEstimate:
    """Traffic of a scenario before a release, with the primary outcome of its units.

    Attributes:
        units_per_day: Number of different units in the period, over its days.
        mean: Mean primary outcome of a unit.
        variance: Variance of the primary outcome over units.
        active_share: Share of units with an outcome above 0.
    """

    units_per_day: float = 0.0
    mean: float = 0.0
    variance: float = 0.0
    active_share: float = 0.0


def days_to_decision(traffic: TrafficEstimate, settings: ReleaseSettings) -> float:
    """Return the days until a candidate as good as the champion can be shown to be no worse; infinite without traffic.

    D = R + max(M, n / U) + W, with U units a day, the ramp R up to the last step (``shortest_ramp_days``), the shortest step M
    and the attribution window W. n = ``units_to_decision`` are the units that the last step needs. Units of the steps before it
    are not counted: they weigh little.

    Args:
        traffic: Units a day and their primary outcome, from the days before the release.
        settings: Steps, margins and error probability of the release.
    """
    if traffic.units_per_day <= 0:
        return inf
    n_units = units_to_decision(traffic, settings)
    last_step_days = max(settings.min_step_minutes / _MINUTES_PER_DAY, n_units / traffic.units_per_day)
    window_days = settings.attribution_window_minutes / _MINUTES_PER_DAY
    return shortest_ramp_days(traffic.units_per_day, settings) + last_step_days + window_days


def units_to_decision(traffic: TrafficEstimate, settings: ReleaseSettings) -> float:
    """Return the units of both arms that the last step of a canary needs; infinite where no unit has an outcome.

    The largest of three numbers, with p the candidate's share, d the relative margin, and Y the primary outcome:

    - the smallest n at which the confidence sequence shows an expected difference of 0 to be above the margin:
      ``confidence_radius`` < d mean(Y), for n p (1 - p) effective units with the variance s^2 = var(Y) ((1 - p) + (1 - d)^2 p);
    - ``min_units_per_arm`` in the smaller arm;
    - ``min_active_units_per_arm`` with an outcome in the smaller arm.

    Args:
        traffic: Mean, variance and activity of the primary outcome.
        settings: Steps, margin and error probability of the release.
    """
    if traffic.mean <= 0 or traffic.active_share <= 0:
        return inf
    share = settings.steps[-1]
    smaller_share = min(share, 1.0 - share)
    return max(
        _units_for_margin(traffic, settings),
        ceil(settings.min_units_per_arm / smaller_share),
        ceil(settings.min_active_units_per_arm / (smaller_share * traffic.active_share)),
    )


def shortest_ramp_days(units_per_day: float, settings: ReleaseSettings) -> float:
    """Return the shortest duration of everything before the last step: shadow, interleaving and the smaller shares.

    Each part lasts ``min_step_minutes``; a share until its ``min_step_units`` came, interleaving until ``interleaving_min_units``
    came or ``interleaving_max_hours`` are over.

    Args:
        units_per_day: New units a day.
        settings: Steps of the release.
    """
    shortest_step_days = settings.min_step_minutes / _MINUTES_PER_DAY
    days = shortest_step_days  # shadow
    if settings.interleaving_share:
        interleaved_per_day = units_per_day * settings.interleaving_share
        interleaving_days = settings.interleaving_min_units / interleaved_per_day
        interleaving_days = min(interleaving_days, settings.interleaving_max_hours / _HOURS_PER_DAY)
        days += max(shortest_step_days, interleaving_days)
    for share in settings.steps[:-1]:
        days += max(shortest_step_days, settings.min_step_units / (units_per_day * share))
    return days


def _units_for_margin(traffic: TrafficEstimate, settings: ReleaseSettings) -> float:
    """The smallest number of units at which the radius of the confidence sequence is below the margin."""
    margin = settings.margin_of(settings.primary_metric)
    allowed_loss = margin * traffic.mean
    share = settings.steps[-1]
    unit_variance = traffic.variance * ((1.0 - share) + (1.0 - margin) ** 2 * share)

    def is_enough(n_units: float) -> bool:
        estimate = EffectEstimate(0.0, sqrt(unit_variance), n_units * share * (1.0 - share))
        return confidence_radius(estimate, 2 * settings.alpha) < allowed_loss

    enough = 1.0
    while not is_enough(enough):
        enough *= 2.0
        if enough > _MAX_UNITS:
            return inf
    too_few = enough / 2.0
    while enough - too_few > 1.0:
        middle = (enough + too_few) / 2.0
        if is_enough(middle):
            enough = middle
        else:
            too_few = middle
    return ceil(enough)
