"""The table at the end."""

import pytest

from tests.arm64.comparison import SUMMARY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how the two machines compare, whatever became of the tests."""
    if SUMMARY in config.stash:
        terminalreporter.section("aarch64 and x86-64")
        terminalreporter.write_line(config.stash[SUMMARY])
