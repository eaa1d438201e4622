"""The part of a launch version's page that says how many to tell: reach against precision on the holdout."""

from typing import Any

from matplotlib.figure import Figure

from vetrina.console.drawing import svg
from vetrina.pipeline.shop import Shop
from vetrina.scenarios.launch.evaluate import Reached, curve


def launch_page(shop: Shop, shown: dict[str, Any]) -> str:
    """For a version as the registry shows it; its judged file on the holdout of its own snapshot."""
    found = curve(shop.workshop.open_version(shown["judged"]), shop.held(shown).holdout())
    if not found:
        return "<h2>Whom to tell</h2><p>Nobody took a new product in the holdout: nothing to judge by.</p>"
    rows = "".join(
        f"<tr><td>{p.share:.1%}</td><td>{p.reach:.1%}</td><td>{p.precision:.2%}</td><td>{p.reach / p.share:.1f}</td></tr>"
        for p in found
    )
    head = "<tr><th>of all users told<th>of the buyers reached<th>of those told buy<th>times better than chance</tr>"
    return f"<h2>Whom to tell</h2><figure>{_picture(found)}</figure><table>{head}{rows}</table>"


def _picture(found: list[Reached]) -> str:
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    reach, precision = [100 * p.reach for p in found], [100 * p.precision for p in found]
    axes.plot(reach, precision, marker="o")
    for point, x, y in zip(found, reach, precision, strict=True):
        axes.annotate(f"{point.share:.1%} told", (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.set(
        title="New products of the holdout",
        xlabel="reach: buyers told, %",
        ylabel="precision: told who buy, %",
        yscale="log",
    )
    return svg(figure)
