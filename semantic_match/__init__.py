"""Semantic Matching: from class names to the pool of pairs worth looking at.

`embed` turns class names into vectors, `match` finds each class its nearest other classes,
`pool` counts and addresses all pairs of videos of matched classes, `picture` shows the choice.
"""
