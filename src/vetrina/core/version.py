"""The version, where anyone may read it."""

VERSION = "0.2.0.dev1"
