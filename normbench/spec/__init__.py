"""What a run is: its schema, keys, checks and identity. No torch."""
