"""The three models and the world that joins them.

Letters in tensor names: B batch, T time, C channels, H height, W width, P tokens of a frame (row by row),
D dimensions of a token's code, L levels of all dimensions together, A bits of an action, E embedding width.
"""
