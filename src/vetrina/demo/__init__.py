"""The demo: a shop with one year of a real grocer's purchases, from data to service."""

from vetrina.demo.complete_journey import curl_examples, write_input_files

__all__ = ["curl_examples", "write_input_files"]
