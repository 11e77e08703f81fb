"""The problem settings of the paper, Sec. 5.1: each module holds one's own settings."""
