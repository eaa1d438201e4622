"""The controller, which runs a shop unattended: daily statistics, health, alerts, retention and image embedding."""
