"""Statistics for training noise, which is heavy-tailed, autocorrelated and follows schedules.

Everything works on plain arrays and knows nothing of runs: `blocks` (medians of blocks, robust scales),
`trend` (Mann-Kendall, Theil-Sen), `change` (where a curve begins to rise), `levels` (two levels of a series),
`period` (what repeats).
"""
