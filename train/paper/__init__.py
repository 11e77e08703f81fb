"""The paper's tables, one command each: which cells there are, what they cost, and their runs.

    TABLE ─► groups of cells (ablated, semi, few_shot) ─► planning: words and costs
                                                       ─► running: commands ─► filling: the table

cells.py      groups, rows, cells and the commands that fill them
published.py  the paper's figures of Tables 3 and 4
ablated.py    Tables 1, 2 and 5: groups are tables of `train.ablation`
semi.py       Table 3      few_shot.py  Table 4
given.py      data, presets and lists that a user has
cost.py       hours and bytes, from measured figures
"""
