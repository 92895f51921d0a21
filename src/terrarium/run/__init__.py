"""The run folder: the contract between training, scoring, playing and the doctor. Nothing here imports torch.

=================  ==========================================================================
`folder`           where everything of a run lies; `run.json`; the newest run
`history`, `rows`  one row per optimizer step; rows that a resume takes back
`checkpoint`       the atomic commit, and reading back; everything about checkpoints can be had from it
`verify`           judging one checkpoint, level by level (L0-L3), without trusting it
`survey`           judging all checkpoints of a stage or a run; the one to go on from
`retention`        `latest`, which checkpoints are kept, and putting right what a kill left
`manifest`         `manifest.json`: what a checkpoint holds
`tensors`          names, types, shapes and finiteness of the tensors in a safetensors file
`lock`             one writer per run
`export`           histories under the column names of the field's scripts
`disk`             durable writes, bounded reads, strict JSON, failpoints
=================  ==========================================================================

The whole contract is written down in `docs/run-folder.md`.
"""
