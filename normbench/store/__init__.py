"""Run folders and the table that they make."""
