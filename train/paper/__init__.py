"""The paper's tables, one command each: which cells there are, what they cost, and their runs.

Cells on one data set from one start are a group: a table of `train.ablation` on a preset, so that
a group's runs are `l2a ablate`'s, resumed, paired, and with the paper's figures beside their own.

cells.py    tables ─► groups
cost.py     hours and bytes, from measured figures
planning.py what is to be done, what it costs, what is missing, and the words that do it
"""
