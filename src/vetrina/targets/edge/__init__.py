"""Models for devices that rank without the shop's service: phones and browsers."""

from vetrina.targets.edge.formats import BYTES_PER_BOOST, BYTES_PER_WEIGHT, FORMAT_FILES, find_tool, write_student

__all__ = ["BYTES_PER_BOOST", "BYTES_PER_WEIGHT", "FORMAT_FILES", "find_tool", "write_student"]
