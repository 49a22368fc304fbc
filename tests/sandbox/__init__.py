"""The sandbox and the fixtures."""
