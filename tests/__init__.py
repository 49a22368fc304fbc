"""The tests: one module a room, and one for each promise."""
