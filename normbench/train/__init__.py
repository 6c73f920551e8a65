"""One run: a configuration in, a result and a run folder out."""
