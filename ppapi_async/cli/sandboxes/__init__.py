"""What `sandbox` and `demo` do."""
