"""What the pages name is there: links, make's targets, and commands."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operations.commands import app
from operations.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in PAGES}

every_page = pytest.mark.parametrize("page", TEXTS)

_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def links(page: str) -> list[tuple[Path, str]]:
    """The files and headings in the repository that a page links to."""
    folder = (ROOT / page).parent
    return [(folder / file if file else ROOT / page, heading or "") for file, heading in _LINK.findall(TEXTS[page])]


def headings(path: Path) -> set[str]:
    """The names by which links reach the headings of a page."""
    return {
        re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in _HEADING.findall(path.read_text())
    }


def test_the_readme_links_to_pages() -> None:
    assert len(links("README.md")) > 10


@every_page
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page: str) -> None:
    broken = [
        f"{path.name}#{heading}"
        for path, heading in links(page)
        if not path.exists() or (heading and heading not in headings(path))
    ]
    assert broken == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {path.resolve() for path, _ in links("README.md")}
    assert [path.name for path in PAGES if path.name != "README.md" and path not in linked] == []


@every_page
def test_every_target_of_make_that_a_page_names_is_there(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+)(?:(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    declared = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", TEXTS[page], re.MULTILINE))
    assert named - set(declared[1].split()) - targets == set()


@every_page
def test_every_command_that_a_page_names_is_there(page: str) -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    named = set(re.findall(r"python -m operations ([a-z][a-z-]+)", TEXTS[page]))
    assert {command for command in named if not re.search(rf"\b{command}\b", shown)} == set()
