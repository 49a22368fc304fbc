"""What is run in a process of its own: each module has `run(site, **options)`."""
