"""Generated training runs, faulty and healthy, to score the doctor on.

What a run looks like is written down here independently of the detectors: neither was made to fit the other.
Even seeds are for tuning; odd ones are for reporting, and nobody looks at those one by one.
"""
