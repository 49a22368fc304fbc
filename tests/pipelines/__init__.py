"""Rows where data people look: Arrow, pandas, Polars, DuckDB, Singer targets, dlt."""
