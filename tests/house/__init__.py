"""The suite, the layers and the notes themselves."""
