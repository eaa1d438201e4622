"""What products look like: a network on pictures that knows their categories, and products alike."""
