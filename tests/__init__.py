"""The tests: one module for each of the package, and one for each promise."""
