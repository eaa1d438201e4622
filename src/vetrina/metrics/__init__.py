"""Quality metrics, their confidence intervals, and the choices made by them on validation data."""
