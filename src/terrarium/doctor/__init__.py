"""The doctor: what is wrong with a training run, told from its files alone, without torch.

`readers` turn whatever lies at some paths into `evidence`; each of the `detectors` looks at it for one thing
and yields findings; `causes` tells which finding leads; `examine` concludes. `report`, `view` and `page_*`
put that into words and pictures, and `consult` is `terrarium diagnose`.
"""
