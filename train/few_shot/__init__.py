"""Few-shot recognition (Sec. 5.5): class splits ─► episodes ─► methods ─► results."""
