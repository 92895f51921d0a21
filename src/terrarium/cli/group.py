"""What all verbs share: how errors become one line and an exit code, and how a signal ends them."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from terrarium import launched
from terrarium.errors import TerrariumError, UsageError, is_out_of_memory

if TYPE_CHECKING:
    from types import FrameType

LONGEST_LINE = 4000  # file names may hold anything; a message about one stays on one line
LESS = "Close other programs, or choose a smaller --preset, batch_size or frame size; what was saved is kept."
LINGER = 10.0  # seconds for another process to say it: as soon as one has ended, torchrun ends all
TOGETHER = ("train", "verify")  # the verbs that several processes run together
FOLDER = click.Path(path_type=Path)


class Verbs(click.Group):
    """Turns errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        before = signal.signal(signal.SIGTERM, _end)
        try:
            return super().invoke(ctx)
        except TerrariumError as error:
            # the same words were typed for all processes of a machine: its first one refuses them
            if error.told or (isinstance(error, UsageError) and launched.local_rank()):
                time.sleep(LINGER * (1 + launched.local_rank()))  # who is still here after that says it
            _fail(str(error), error.exit_code)
        except BrokenPipeError:
            sys.exit(1)  # the reader of our output has gone
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            _fail(f"out of memory. {LESS}", 1)
        except OSError as error:  # a full or failing disk that nothing else reported
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
        finally:
            signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Exit through every open context, so that a game's process ends and no half-made folder stays."""
    sys.exit(128 + number)


def _fail(text: str, code: int) -> NoReturn:
    from terrarium.doctor.wording import plain

    who = f"error on rank {launched.rank()}: " if launched.count() > 1 else "error: "
    click.secho(who, fg="red", bold=True, err=True, nl=False)
    click.echo(plain(text, LONGEST_LINE), err=True)
    sys.exit(code)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="terrarium")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Grow a small playable world out of gameplay video, and know how healthy it is."""
    if launched.by_torchrun() and ctx.invoked_subcommand not in TOGETHER:
        raise UsageError(f"{ctx.invoked_subcommand} is for one process", "Start it without torchrun.")
