"""Statistics that respect how training noise is: heavy-tailed, autocorrelated, scheduled.

Everything works on plain arrays and knows nothing of runs: `blocks` (medians of blocks, robust scales),
`trend` (Mann-Kendall, Theil-Sen), `change` (where a curve begins to rise), `period` (what repeats).
"""
