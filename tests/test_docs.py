"""The documentation against the code: commands parse, paths exist, samples run."""

from __future__ import annotations

import re
import runpy
import shlex
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from pkgutil import resolve_name

import click
import numpy as np
import pytest
from rich.console import Console

from terrarium.cli import main
from terrarium.config import override
from terrarium.presets import PRESETS, preset
from tiny_world import store_footage, tiny_config

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^(?P<mark><!-- runnable -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```", re.M | re.S)
IN_TREE = re.compile(r"(?:src|docs|tests|benchmarks|\.ci)/[\w./*-]*\w|(?:README|LICENSE|Makefile)[\w.]*")
HEADINGS = ("**Context.**", "**Decision.**", "**Consequences.**", "**What would change our mind.**")


@dataclass(frozen=True)
class Page:
    """A page, taken apart.

    Attributes:
        path: of the file.
        blocks: (language, body, whether it is marked runnable).
        prose: all the rest, without comments.
    """

    path: Path
    blocks: tuple[tuple[str, str, bool], ...]
    prose: str

    @property
    def spans(self) -> list[str]:
        """What stands between backticks in the prose."""
        return [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", self.prose)]

    @property
    def lines(self) -> list[str]:
        """The command lines of its blocks, their comments cut off."""
        bodies = [body for language, body, _ in self.blocks if language in {"sh", "bash", "console"}]
        return [line.split(" #")[0].strip() for body in bodies for line in body.splitlines() if line.strip()]


@cache
def read(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    blocks = tuple((m["language"], m["body"], bool(m["mark"])) for m in FENCE.finditer(text))
    return Page(path, blocks, re.sub(r"<!--.*?-->", "", FENCE.sub("", text), flags=re.S))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(kind: str) -> list[tuple[str, str]]:
    """Every (page, command) that begins with `terrarium`, of the blocks or of the prose."""
    found = [
        (path, line) for path in PAGES for line in (read(path).lines if kind == "lines" else read(path).spans)
    ]
    return [(name_of(path), line) for path, line in found if line.startswith("terrarium ")]


def option_names(verb: str) -> set[str]:
    return {name for parameter in main.commands[verb].params for name in parameter.opts}


@pytest.mark.parametrize(("page", "line"), commands("lines"))
def test_commands_parse(page: str, line: str) -> None:
    _, verb, *words = shlex.split(line)
    context = main.commands[verb].make_context(verb, words)
    settings = context.params.get("assignments") or ()
    override(preset(context.params.get("preset") or "quick"), settings)


@pytest.mark.parametrize(("page", "span"), commands("prose"))
def test_commands_in_prose_have_verbs_and_options_that_exist(page: str, span: str) -> None:
    verb, *words = re.findall(r"[\w./=*<>-]+", span)[1:]
    assert verb in main.commands
    options = {"--help", *option_names(verb)}
    assert not {word.split("=")[0] for word in words if word.startswith("-")} - options


def test_a_command_that_is_wrong_is_found() -> None:
    with pytest.raises(click.NoSuchOption):
        main.commands["train"].make_context("train", ["--no-such-option"])


@pytest.mark.parametrize("verb", sorted(main.commands))
def test_the_readme_shows_every_verb(verb: str) -> None:
    page = read(ROOT / "README.md")
    assert any(re.match(rf"terrarium {verb}\b", text) for text in [*page.lines, *page.spans])


@pytest.mark.parametrize("name", PRESETS)
def test_the_readme_names_every_preset(name: str) -> None:
    assert f"`{name}`" in read(ROOT / "README.md").prose


def slug(heading: str) -> str:
    """The anchor that a heading gets on the web."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", read(path).prose):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        reached = (path.parent / target).resolve() if target else path
        assert reached.exists() and reached.is_relative_to(ROOT), link
        headings = re.findall(r"^#+ (.+)$", read(reached).prose, re.M) if anchor else []
        assert not anchor or anchor in map(slug, headings), link


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_paths_and_names_of_the_code_exist(path: Path) -> None:
    for span in read(path).spans:
        for mentioned in IN_TREE.findall(span):
            assert list(ROOT.glob(mentioned)), mentioned
        if re.fullmatch(r"terrarium(\.\w+)+", span):
            resolve_name(span)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    texts = [*read(path).lines, *read(path).spans]
    assert {match[1] for text in texts if (match := re.match(r"make ([\w-]+)", text))} <= targets


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_scripts_that_are_shown_exist_with_their_options(path: Path) -> None:
    for text in [*read(path).lines, *read(path).spans]:
        for script, words in re.findall(r"(benchmarks/\w+\.py)((?: [^|]+)?)", text):
            source = (ROOT / script).read_text()
            assert all(f'"{word}"' in source for word in words.split() if word.startswith("--"))


def test_the_first_lines_of_the_readme_are_the_two_commands() -> None:
    lines = read(ROOT / "README.md").lines
    assert lines[:2] == ["make demo", "make test"]


def test_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [path for path in (ROOT / "src" / "terrarium").iterdir() if not path.name.startswith("_")]
    missing = [path.name for path in rooms if not re.search(rf"^  {path.stem}[./]", text, re.M)]
    assert not missing


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=name_of)
def test_decisions_are_half_a_page_each_in_four_parts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    places = [text.find(heading) for heading in HEADINGS]
    assert -1 not in places and places == sorted(places)
    assert text.startswith(f"# {path.name[:4]} ")
    assert len(text.splitlines()) <= 30


def test_the_log_is_dated_newest_first() -> None:
    text = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
    days = re.findall(r"^## (.*)$", text, re.M)
    assert days and days == sorted(days, reverse=True)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in days)


@pytest.fixture(scope="module")
def after_the_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks as the demo leaves it, but trained for a few steps, and without true actions."""
    from terrarium.pipeline import train
    from terrarium.progress import ConsoleProgress

    folder = tmp_path_factory.mktemp("demo")
    run = folder / "results" / "tiny"
    store_footage(run / "footage")
    for file in (run / "footage").glob("actions-*"):
        file.unlink()  # training must not miss them
    with ConsoleProgress(Console(file=StringIO())) as progress:
        train(run, run / "footage", tiny_config(), progress)
    return folder


def runnable() -> list[tuple[str, str]]:
    return [(name_of(path), body) for path in PAGES for _, body, marked in read(path).blocks if marked]


def test_there_is_something_to_run() -> None:
    assert [page for page, _ in runnable()] == ["README.md"]


@pytest.mark.parametrize(("page", "sample"), runnable())
def test_samples_run(
    page: str, sample: str, after_the_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "sample.py"
    script.write_text(sample)
    monkeypatch.chdir(after_the_demo)
    names = runpy.run_path(str(script))
    frame_HWC, codes, episode = names["frame_HWC"], names["codes"], names["episode"]
    assert (frame_HWC.shape, frame_HWC.dtype) == ((64, 64, 3), np.uint8)
    assert len(codes) == len(episode) - 1 and set(codes) <= set(range(names["world"].actions))
