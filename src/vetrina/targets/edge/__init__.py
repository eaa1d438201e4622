"""Files for devices that run without the shop's service: phones and browsers."""

from vetrina.targets.edge.formats import FORMATS, LIFT, NUMBER, tool, write

__all__ = ["FORMATS", "LIFT", "NUMBER", "tool", "write"]
