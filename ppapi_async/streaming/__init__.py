"""All rows of a range, window by window, each proven complete."""
