"""Queries between the shop's command line and its running service, on a socket in the shop's folder."""
