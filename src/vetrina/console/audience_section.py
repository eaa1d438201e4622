"""The part of a launch version's page that says how many to tell: reach against precision on the holdout."""

from typing import Any

from matplotlib.figure import Figure

from vetrina.console.charts import to_svg
from vetrina.pipeline.api import Shop
from vetrina.scenarios.launch.evaluate import ReachPoint, reach_curve


def audience_section(shop: Shop, version_record: dict[str, Any]) -> str:
    """For a version as the registry shows it; its judged file on the holdout of its own snapshot."""
    found = reach_curve(
        shop.shop_context.version_folder(version_record["judged"]), shop.splits(version_record).holdout()
    )
    if not found:
        return "<h2>Whom to tell</h2><p>Nobody took a new product in the holdout: nothing to judge by.</p>"
    rows = "".join(
        f"<tr><td>{p.audience_share:.1%}</td><td>{p.reach:.1%}</td><td>{p.precision:.2%}</td>"
        f"<td>{p.reach / p.audience_share:.1f}</td></tr>"
        for p in found
    )
    head = "<tr><th>of all users told<th>of the buyers reached<th>of those told buy<th>times better than chance</tr>"
    return f"<h2>Whom to tell</h2><figure>{_reach_chart(found)}</figure><table>{head}{rows}</table>"


def _reach_chart(points: list[ReachPoint]) -> str:
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    reach = [100 * p.reach for p in points]
    precision = [100 * p.precision for p in points]
    axes.plot(reach, precision, marker="o")
    for point, x, y in zip(points, reach, precision, strict=True):
        axes.annotate(f"{point.audience_share:.1%} told", (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.set(
        title="New products of the holdout",
        xlabel="reach: buyers told, %",
        ylabel="precision: told who buy, %",
        yscale="log",
    )
    return to_svg(figure)
