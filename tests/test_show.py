"""Notes and progress bars, as a log file or pipe gets them."""

from __future__ import annotations

import pytest

from hyperarc.commands.show import Show


@pytest.mark.parametrize("quiet", [True, False])
def test_bars_leave_nothing_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    show = Show(quiet=quiet)
    with show.progress("looking") as tell:
        tell(1, 2)
    show.note("looked")
    assert capsys.readouterr().err == ("" if quiet else "looked\n")
