"""The run folder: the contract between training, scoring, playing and the doctor. Nothing here imports torch.

=====================  ======================================================================
`folder`               where everything of a run lies; `run.json`; the newest run
`history`, `rows`      one row per optimizer step; rows that a resume takes back
`checkpoint`           saving one, atomically, and reading it back
`sharded`, `shards`    the same for several processes: each writes a part, and it is read as one
`commit`               the steps that both ways of saving share
`manifest`             `manifest.json`: what a checkpoint holds
`verify`, `sense`      judging one checkpoint without trusting it: levels L0 to L2, and L3
`survey`               judging all checkpoints of a stage or a run; the one to go on from
`retention`            `latest`, which checkpoints are kept, and putting right what a kill left
`tensors`              names, types, shapes and finiteness of the tensors in a safetensors file
`sameness`             whether two runs became the same, bit for bit
`lock`                 one writer per run
`freeze`               stopping a live run from outside
`export`               histories under the column names that other tools' scripts expect
`disk`, `flaw`         durable writes, bounded reads, strict JSON; how a damaged file is described
=====================  ======================================================================

The whole contract is written down in `docs/run-folder.md`.
"""
