"""One readable decision tree."""
