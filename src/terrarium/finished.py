"""What is done with a finished world: it is scored, held to what its configuration asks, and served."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from terrarium.config import Config
from terrarium.doctor.finding import Verdict
from terrarium.doctor.report import write_report
from terrarium.evaluate import evaluate, open_footage, read_scores
from terrarium.healing import shortfalls
from terrarium.healing.decisions import Decision, What, is_known, write_down
from terrarium.models.build import run_config, trained_checkpoint
from terrarium.models.world import World
from terrarium.run.folder import RunFolder

if TYPE_CHECKING:
    from terrarium.progress import ConsoleProgress


def known_scores(run: RunFolder) -> dict[str, object] | None:
    """The scores of a run, if they are of the checkpoints that it has now."""
    scores = read_scores(run)
    current = {stage.name: trained_checkpoint(stage).name for stage in run.stages()}
    return scores if scores.get("checkpoints") == current else None


def score(run: RunFolder, progress: ConsoleProgress) -> dict[str, object]:
    """Score a run on held-out footage, and write the report anew."""
    scores = evaluate(run, progress=progress.say)
    write_report(run.path)
    return scores


def ask_at_play_gate(run: RunFolder, config: Config, progress: ConsoleProgress) -> None:
    """Compare the finished world with what its configuration asks for; score it first if need be."""
    found = shortfalls(known_scores(run) or evaluate(run, progress=progress.say), config.gates)
    folder = run.stage("dynamics")
    verdict = Verdict.WATCH if found else Verdict.NORMAL
    decision = Decision(config.dynamics.steps, What.CONTINUE, verdict, reason="; ".join(found))
    if not is_known(folder, decision):
        write_down(folder, decision)
    progress.say(f"the play gate is not passed: {'; '.join(found)}" if found else "the play gate is passed")


def serve_world(run: RunFolder, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve a run's world until Ctrl-C, starting from held-out frames.

    Raises:
        PlayError: the server can't listen at that address.
    """
    from terrarium.play import create_app, serve

    world = World.load(run.path, device=run_config(run).device)
    starts = [episode.frames_THWC[: world.context_frames] for episode in open_footage(run).held_out]
    app = create_app(world, starts, labels=_labels(run), title=run.path.name, port=port)
    serve(app, host=host, port=port, announce=announce)


def _labels(run: RunFolder) -> list[str]:
    """What each code does, as far as evaluation found out."""
    actions = read_scores(run).get("latent_actions")
    names = actions.get("code_names") if isinstance(actions, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []
