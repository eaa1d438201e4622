"""The whole life of a shop on real data: one year of a grocer's purchases."""

from vetrina.demo.complete_journey import curl_examples, write_input_files

__all__ = ["curl_examples", "write_input_files"]
