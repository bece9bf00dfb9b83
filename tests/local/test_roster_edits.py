"""A valid edit of the roster breaks no unit test: tried in copies of the project.

The unit tests without the marker `real_roster` cannot see the roster (`tests/unit/conftest.py`). The others run here.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project_copy import copy_project

SERVICE = re.compile(r'^( +)(user|ai|grpc)\("(\w+)", (\d+)(.*)\),.*\n', re.MULTILINE)
FREE_PORT = "64999"

Edit = Callable[[str], str]


def with_another_interval(text: str) -> str:
    return SERVICE.sub(r'\1\2("\3", \4, interval=timedelta(seconds=15)),\n', text, count=1)


def with_another_port(text: str) -> str:
    return SERVICE.sub(rf'\1\2("\3", {FREE_PORT}\5),\n', text, count=1)


def with_one_more(text: str) -> str:
    return SERVICE.sub(rf'\g<0>\1\2("one_more", {FREE_PORT}\5),\n', text, count=1)


def with_one_less(text: str) -> str:
    return SERVICE.sub("", text, count=1)


def with_a_port_that_does_not_exist(text: str) -> str:
    return SERVICE.sub(r'\1\2("\3", 99999\5),\n', text, count=1)


def copy(project: Path) -> None:
    """Copy the project into a folder that git takes for a clone, as some unit tests do."""
    copy_project(project)
    subprocess.run(("git", "init", "--quiet"), cwd=project, check=True)


def edit(project: Path, group: str, change: Edit) -> None:
    """Change the file of a group."""
    file = project / "services" / f"{group}_services.py"
    before = file.read_text()
    after = change(before)
    assert after != before, f"{file.name} has no line such as {SERVICE.pattern}"
    file.write_text(after)


def unit_tests(project: Path) -> subprocess.CompletedProcess[str]:
    """Run those of a copy's unit tests that read the roster."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = (sys.executable, "-m", "pytest", "tests/unit", "-q", "-m", "real_roster")
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    copy(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("group", "change"),
    [
        ("user", with_another_interval),
        ("grpc", with_another_port),
        ("ai", with_one_more),
        ("user", with_one_less),
    ],
)
def test_a_valid_edit_breaks_no_unit_test(project: Path, group: str, change: Edit) -> None:
    edit(project, group, change)
    run = unit_tests(project)
    assert run.returncode == 0, run.stdout
    assert re.search(r"\d\d passed", run.stdout), run.stdout


def test_an_invalid_edit_is_noticed(project: Path) -> None:
    edit(project, "user", with_a_port_that_does_not_exist)
    run = unit_tests(project)
    assert run.returncode == 1, run.stdout
    assert "services/user_services.py, line" in run.stdout
