"""report.html: one file that opens without network."""
