"""The commands: their options and helps, and nothing that takes long to load."""
