"""Content vectors of products, independent of behaviour, so that cold-start items have one as well."""
