"""Streams: windows, proofs, positions, iteration."""
