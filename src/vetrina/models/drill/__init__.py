"""A model that fails on purpose, for drills: see a release survive it before trusting one."""
