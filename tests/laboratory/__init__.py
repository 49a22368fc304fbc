"""A fault laboratory: whatever stands between a client and a site, on sockets of this machine.

`python -m tests.laboratory` runs every call and every iterator under every fault and prints the
table of outcomes; `test_laboratory.py` holds the table.
"""
