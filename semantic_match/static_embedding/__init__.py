"""Data of the bundled embedder: see `NOTICE.md`, `semantic_match/static.py`, `distil.py`."""
