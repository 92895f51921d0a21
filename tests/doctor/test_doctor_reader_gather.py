"""Whatever lies at a path as evidence: trees, stages, bare histories, and what is left out and left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from doctor_samples import make_small_run
from spoiling import nothing_is_run

from patients import checkpoints, logs, zelda
from patients.logs import WRITERS, rows_of
from terrarium.doctor.evidence import Evidence, Kind
from terrarium.doctor.readers.gather import gather
from terrarium.doctor.report import write_report
from terrarium.errors import RunError, UsageError

STAGE = "dynamics"
SETTINGS = {"learning_rate": 0.01, "n_updates": 300_000, "gradient_accumulation_steps": 4}


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 3,000 rows of the seed's run, without pictures."""
    return zelda.build(tmp_path_factory.mktemp("seed") / "zelda", 3000, with_pictures=False)


def tree(root: Path, rows: int = 300) -> Path:
    """A small tree: one stage with checkpoints, its history as CSV beside it, its configuration."""
    folder = root / "results" / "2026_02_06_00_44_31" / STAGE
    for step in (100, 200):
        checkpoints.tinyworlds(folder / "checkpoints", step)
    (folder / "visualizations").mkdir()
    (root / "Logs").mkdir()
    logs.write_csv(root / "Logs" / "dynamics_history_2pghxx71_latest.csv", rows_of(rows))
    (root / "configs").mkdir()
    (root / "configs" / "dynamics.yaml").write_text(yaml.safe_dump(SETTINGS))
    return root


def marks(root: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}


def rows_in(evidence: Evidence) -> dict[str, int]:
    return {name: stage.kept.rows for name, stage in evidence.stages.items()}


def test_the_seed_s_run(seed: Path) -> None:
    evidence = gather([seed])
    assert evidence.kind is Kind.TREE
    assert rows_in(evidence) == {"video_tokenizer": 40_000, "latent_actions": 10_000, "dynamics": 3000}
    stage = evidence.stages["dynamics"]
    assert (stage.plan.steps, stage.plan.learning_rate, stage.plan.codes) == (300_000, 0.01, 1024)
    assert (stage.plan.gradient_accumulation_steps, stage.plan.several_writers) == (4, 2)
    usable = [one.step for one in stage.checkpoints if one.whole]
    assert (len(stage.checkpoints), usable) == (26, [26_000, 44_000])
    assert {one.flaw for one in stage.checkpoints if not one.whole} == {"empty"}


def test_any_part_of_a_tree_can_be_given(tmp_path: Path) -> None:
    root = tree(tmp_path / "world")
    stage = root / "results" / "2026_02_06_00_44_31" / STAGE
    for given in (root, root / "results", stage.parent, stage, stage / "checkpoints"):
        evidence = gather([given])
        assert rows_in(evidence) == {STAGE: 300}, given
        assert evidence.stages[STAGE].plan.learning_rate == 0.01, given
        assert [one.step for one in evidence.stages[STAGE].checkpoints] == [100, 200], given


def test_a_tree_and_its_history_given_apart(tmp_path: Path) -> None:
    root = tree(tmp_path / "world")
    history = shutil.move(root / "Logs" / "dynamics_history_2pghxx71_latest.csv", tmp_path / "export.csv")
    evidence = gather([root / "results", Path(history)])
    assert rows_in(evidence) == {STAGE: 300}
    assert len(evidence.stages[STAGE].checkpoints) == 2


def test_a_foreign_tree_is_never_written_to(tmp_path: Path) -> None:
    root = tree(tmp_path / "world")
    logs.write_trackio(root / "Logs" / "dynamics.db", rows_of(50))
    logs.write_wandb(root / "Logs" / "run-a1b2c3d4.wandb", rows_of(60))
    before = marks(root)
    with nothing_is_run():
        gather([root])
    assert marks(root) == before


@pytest.mark.parametrize(
    "names", [("a.csv", "a.json"), ("history.csv", "export.jsonl"), ("x.json", "copy of x.json")]
)
def test_the_same_history_twice_counts_once(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        dict(WRITERS.values())  # the writers are told by suffix below
        write = {"csv": logs.write_csv, "json": logs.write_json, "jsonl": logs.write_jsonl}[
            name.split(".")[-1]
        ]
        write(tmp_path / name, rows_of(80))
    assert list(rows_in(gather([tmp_path])).values()) == [80]
    assert list(rows_in(gather([tmp_path / name for name in names])).values()) == [80]


def test_different_histories_are_different_stages(tmp_path: Path) -> None:
    logs.write_csv(tmp_path / "a.csv", rows_of(80, seed=1))
    logs.write_csv(tmp_path / "b.csv", rows_of(80, seed=2))
    assert rows_in(gather([tmp_path])) == {"a": 80, "b": 80}


def test_where_one_copy_is_damaged_the_other_is_read(tmp_path: Path) -> None:
    logs.write_csv(tmp_path / "a.csv", rows_of(100))
    logs.write_json(tmp_path / "a.json", rows_of(100))
    lines = (tmp_path / "a.csv").read_bytes().split(b"\n")
    lines[30:40] = [b"\xff\xfe" * 20] * 10
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines))
    evidence = gather([tmp_path])
    assert list(rows_in(evidence).values()) == [100]
    assert not [gap for gap in evidence.missing if gap.what == "part-of-history"]


def test_how_much_was_lost_is_said(tmp_path: Path) -> None:
    path = tmp_path / "run-a1b2c3d4.wandb"
    logs.write_wandb(path, rows_of(2000))
    with path.open("r+b") as file:
        file.seek(40_000)
        file.write(b"\xff" * 9)
    evidence = gather([path])
    (gap,) = [gap for gap in evidence.missing if gap.what == "part-of-history"]
    assert (gap.why, gap.detail) == (
        "lost-rows",
        f"{2000 - rows_in(evidence)['training']} (run-a1b2c3d4.wandb)",
    )
    assert "(1 " not in gap.detail  # one stretch, but many rows


def test_our_own_reports_are_no_input(tmp_path: Path) -> None:
    run = make_small_run(tmp_path / "run")
    write_report(run)
    again = gather([run])
    assert again.kind is Kind.RUN
    assert set(again.stages) == {"video_tokenizer", "latent_actions", "dynamics"}
    root = tree(tmp_path / "world")
    write_report(root, root)  # a report into somebody else's tree, as --out may ask for
    assert rows_in(gather([root])) == {STAGE: 300}
    with pytest.raises(RunError, match="written by Terrarium"):
        gather([root / "report.json"])


@pytest.mark.parametrize("found", WRITERS)
def test_a_bare_history_of_any_format(found: str, tmp_path: Path) -> None:
    name, write = WRITERS[found]
    write(tmp_path / name, rows_of(120))
    evidence = gather([tmp_path / name])
    assert (evidence.kind, rows_in(evidence)) == (Kind.HISTORY, {"training": 120})
    assert not [gap for gap in evidence.missing if gap.essential]


def test_the_stage_comes_from_the_name_or_is_given(tmp_path: Path) -> None:
    path = tmp_path / "lam_history.csv"
    logs.write_csv(path, rows_of(20))
    assert list(gather([path]).stages) == ["latent_actions"]
    assert list(gather([path], stage="dynamics").stages) == ["dynamics"]


def test_a_column_can_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("tick,mystery\n" + "".join(f"{n},{9 - n}\n" for n in range(9)))
    stage = gather([path], columns={"loss": "mystery", "step": "tick"}).stages["training"]
    assert stage.series("loss")[1].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert gather([path]).stages["training"].history is None  # without the mapping nothing in it is known


@pytest.mark.parametrize("suffix", ["yaml", "json", "toml"])
def test_a_configuration_that_is_given_comes_first(suffix: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "world")
    config = tmp_path / f"mine.{suffix}"
    said = {"learning_rate": 0.5, "n_actions": 8, "codebook_size": 64}
    texts = {
        "yaml": yaml.safe_dump(said),
        "json": json.dumps(said),
        "toml": "".join(f"{key} = {value}\n" for key, value in said.items()),
    }
    config.write_text(texts[suffix])
    plan = gather([root], config=config).stages[STAGE].plan
    assert (plan.learning_rate, plan.actions, plan.codes) == (0.5, 8, 64)
    assert plan.steps == 300_000  # what it does not say, the tree's own does
    with pytest.raises(UsageError):
        gather([root], config=root / "Logs")


def test_wandb_s_configuration_is_used(tmp_path: Path) -> None:
    path = tmp_path / "run-a1b2c3d4.wandb"
    logs.write_wandb(path, rows_of(50), SETTINGS)
    plan = gather([path]).stages["training"].plan
    assert (plan.learning_rate, plan.steps, plan.gradient_accumulation_steps) == (0.01, 300_000, 4)
    assert plan.source == "run-a1b2c3d4.wandb"


def test_runs_in_one_database_are_stages(tmp_path: Path) -> None:
    path = tmp_path / "world.db"
    logs.write_trackio(path, rows_of(30, seed=1), run="first")
    logs.write_trackio(path, rows_of(40, seed=2), SETTINGS, run="second")
    evidence = gather([path])
    assert sorted(rows_in(evidence).values()) == [30, 40]


def test_event_files_in_a_tree(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "dynamics"
    folder.mkdir(parents=True)
    logs.write_events(folder / "events.out.tfevents.100.host", rows_of(70))
    evidence = gather([tmp_path])
    assert rows_in(evidence) == {"dynamics": 70}


@pytest.mark.parametrize("inside", ["", "checkpoints"])
def test_what_the_hugging_face_trainer_leaves(inside: str, tmp_path: Path) -> None:
    for step in (50, 100):
        folder = checkpoints.with_safetensors(tmp_path / "out" / inside, step)
        rows = [{"step": row, "loss": 1.0 + 1 / (1 + row)} for row in range(step)]
        (folder / "trainer_state.json").write_text(json.dumps({"max_steps": 400, "log_history": rows}))
    evidence = gather([tmp_path / "out"])
    (stage,) = evidence.stages.values()
    assert (stage.kept.rows, stage.plan.steps) == (100, 400)
    assert [(one.step, one.whole) for one in stage.checkpoints] == [(50, True), (100, True)]
    assert not evidence.missing or not any(gap.essential for gap in evidence.missing)


def test_nothing_known_is_said(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    (tmp_path / "more").mkdir()
    evidence = gather([tmp_path])
    assert not evidence.stages
    assert [(gap.what, gap.why, gap.essential) for gap in evidence.missing] == [
        ("everything", "nothing-found", True)
    ]
    with pytest.raises(RunError, match="does not exist"):
        gather([tmp_path / "nowhere"])
    with pytest.raises(UsageError):
        gather([])
