"""One file a claim; each defines FINDING. A new file is found by itself."""
