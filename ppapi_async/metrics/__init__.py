"""What requests and accounts come to, for OpenTelemetry and Prometheus; each is an extra.

Nothing here is imported by the rest of the package. No url, no key and no query is ever an
attribute or a label; an account's name only if you ask for it.
"""
