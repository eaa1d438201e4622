"""The version, where anyone may read it."""

VERSION = "0.1.0"
