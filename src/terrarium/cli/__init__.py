"""The command line: one function per verb. Torch is imported only by the verbs that need it.

Each file holds the verbs of one occasion; importing it adds them to the group.
"""

from terrarium.cli import footage, health, training, world  # noqa: F401 - they add their verbs
from terrarium.cli.group import main

__all__ = ["main"]
