"""Deep and cross network for clicks: it learns which values together say yes, and what follows a yes."""
