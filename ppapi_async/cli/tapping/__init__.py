"""What `ppapi tap` does: rows of the sites as messages of the Singer specification."""
