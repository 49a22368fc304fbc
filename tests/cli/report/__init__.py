"""Tests of the report: what it gathers, and how it is drawn."""
