"""Figures for pages: the same figure gives the same bytes."""

from io import StringIO

import matplotlib as mpl
from matplotlib.figure import Figure


def to_svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element, without a date and with stable names inside."""
    text = StringIO()
    with mpl.rc_context({"svg.hashsalt": "vetrina"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
