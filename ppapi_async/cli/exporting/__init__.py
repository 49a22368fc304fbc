"""Rows of a mirror, or of the sites, as files."""
