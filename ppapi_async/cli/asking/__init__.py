"""What is asked of all sites at once, for `info` and `doctor`."""
