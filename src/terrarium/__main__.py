"""`python -m terrarium` is `terrarium`."""

from terrarium.cli import main

main()
