"""A copy of everything that accounts have, in the user's own database."""
