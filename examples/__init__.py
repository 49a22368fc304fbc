"""Programs to copy; see README.md."""
