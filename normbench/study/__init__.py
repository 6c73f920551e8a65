"""A study: a YAML file that becomes a plan of runs."""
