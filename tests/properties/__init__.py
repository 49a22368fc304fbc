"""Whatever comes, in whatever order."""
