"""Charts of reports as SVG: the same figure always gives the same bytes."""

from io import StringIO

import matplotlib as mpl
from matplotlib.figure import Figure


def to_svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element, without a date and with reproducible ids."""
    buffer = StringIO()
    with mpl.rc_context({"svg.hashsalt": "vetrina"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
