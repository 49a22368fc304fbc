"""The copy of everything in the user's own database."""
