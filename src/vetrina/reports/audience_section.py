"""The audience section of a report on audiences: reach against precision on the holdout."""

from matplotlib.figure import Figure

from vetrina.api.shop import Shop
from vetrina.reports.charts import to_svg
from vetrina.scenarios.base import AudienceScenario, ReachPoint
from vetrina.store.registry import Version


def audience_section(shop: Shop, scenario: AudienceScenario, version: Version) -> str:
    """HTML for a version: its judged file on the holdout of its own snapshot.

    Args:
        shop: The shop.
        scenario: Scenario of the version.
        version: The version.
    """
    folder = shop.shop_context.version_folder(version.judged)
    points = scenario.reach_curve(folder, shop.splits(version).holdout())
    if not points:
        return (
            "<h2>Size of the audience</h2><p>No new product was bought in the holdout, so reach cannot be measured.</p>"
        )
    rows = "".join(_row(point) for point in points)
    head = (
        "<tr><th>share of all users contacted<th>share of the buyers reached<th>share of contacted users who buy"
        "<th>lift over random selection</tr>"
    )
    chart = f"<figure>{_reach_chart(points)}</figure>"
    return f"<h2>Size of the audience</h2>{chart}<table>{head}{rows}</table>"


def _row(point: ReachPoint) -> str:
    lift = point.reach / point.audience_share
    return (
        f"<tr><td>{point.audience_share:.1%}</td><td>{point.reach:.1%}</td><td>{point.precision:.2%}</td>"
        f"<td>{lift:.1f}</td></tr>"
    )


def _reach_chart(points: list[ReachPoint]) -> str:
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    reach = [100 * point.reach for point in points]
    precision = [100 * point.precision for point in points]
    axes.plot(reach, precision, marker="o")
    for point, x, y in zip(points, reach, precision, strict=True):
        label = f"{point.audience_share:.1%} contacted"
        axes.annotate(label, (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.set(
        title="New products of the holdout",
        xlabel="reach: buyers who were contacted, %",
        ylabel="precision: contacted users who buy, %",
        yscale="log",
    )
    return to_svg(figure)
