"""A program as a user writes it, which type checkers have to like in their strictest mode."""
