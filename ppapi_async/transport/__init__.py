"""Requests and answers over aiohttp, which nothing else of the client knows."""
