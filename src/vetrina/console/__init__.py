"""HTML reports about versions."""
