"""A file for each version of the tables, which does not change once it was released."""
