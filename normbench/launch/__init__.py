"""Where the runs run."""
