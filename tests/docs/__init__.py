"""The documentation: it builds, its links lead somewhere, its blocks work."""
