"""`python -m operations`, as it starts."""

import runpy
import sys
from importlib.abc import MetaPathFinder

import pytest


class _Interrupted(MetaPathFinder):
    """Ctrl-C while a module is looked for."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "operations.commands":
            raise KeyboardInterrupt


def test_ctrl_c_while_python_still_imports_the_commands_ends_them_without_a_stack_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "operations.commands", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("operations", run_name="__main__")
    assert ended.value.code == 130
