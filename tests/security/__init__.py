"""Hostile sites, careless users, and the key that is nowhere."""
