"""Semantic Matching: from class names to the pool of pairs worth looking at.

`embed` turns class names into vectors, `partners` reads which classes are to meet, `match` finds
them, `pool` counts and addresses all pairs of videos of matched classes, `picture` shows them.
"""
