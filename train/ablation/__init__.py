"""`l2a ablate`: a table of variants of one training, each a run of its own, compared in pairs.

A table's rows differ from what the command line says in some settings of `l2a train`; each row is
trained for every split and seed, and compared with the baseline row of the same split and seed.

    FILE.yaml ─► table ─► plan: rows x splits x seeds ─► running ─► results ─► drawn: md, csv, png
"""
