"""Work that goes on after a kill: parts are kept, other plans are refused, one process at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hyperarc import unfinished as unfinished_file
from hyperarc.errors import HyperArcError
from hyperarc.unfinished import Unfinished, continue_work

# Writes the parts it does not find, and waits to be killed at the part it is told.
_WORKER = """
import sys, time
from pathlib import Path
from hyperarc.unfinished import continue_work
target, stop_at = Path(sys.argv[1]), int(sys.argv[2])
with continue_work(target, {"numbers": 5}) as work:
    made = []
    for number in range(5):
        if not work.part(f"{number}.txt").exists():
            made.append(number)
            with work.writing(f"{number}.txt") as path:
                path.write_text(str(number * number))
        if number == stop_at:
            print("there", flush=True)
            time.sleep(600)
    work.content.write_text(" ".join(work.part(f"{n}.txt").read_text() for n in range(5)))
    print(work.resumed, made)
"""


def worker(target: Path, stop_at: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _WORKER, target, str(stop_at)], stdout=subprocess.PIPE, text=True)


def make_a_part_and_fail(work: Unfinished) -> None:
    with work.writing("0") as path:
        path.write_text("whole")
    raise ValueError("broken")


def test_killed_work_goes_on_where_it_was(tmp_path: Path) -> None:
    target = tmp_path / "squares.txt"
    first = worker(target, 2)
    assert first.stdout is not None
    assert first.stdout.readline() == "there\n"
    with pytest.raises(HyperArcError, match="another process is at work on it"), continue_work(target, {"numbers": 5}):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not target.exists()
    assert worker(target, -1).communicate()[0] == "True [3, 4]\n"
    assert target.read_text() == "0 1 4 9 16"
    assert [path.name for path in tmp_path.iterdir()] == ["squares.txt"]


def test_a_failure_keeps_the_parts_and_another_plan_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "a" / "made"
    with pytest.raises(ValueError, match="broken"), continue_work(target, {"size": 112, "source": "x"}) as work:
        make_a_part_and_fail(work)
    with (
        pytest.raises(HyperArcError, match=r"begun otherwise: size was 112, is 96; start it as before, or remove"),
        continue_work(target, {"size": 96, "source": "x"}),
    ):
        pass
    with continue_work(target, {"size": 112, "source": "x"}) as work:
        assert work.resumed
        assert work.part("0").read_text() == "whole"
        work.content.mkdir()
        (work.content / "file").write_text("1")
    assert (target / "file").read_text() == "1"
    with pytest.raises(HyperArcError, match="refused to overwrite"), continue_work(target, {}):
        pass


def test_what_another_process_finished_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "made.txt"
    locked = unfinished_file._locked

    def finished_before_the_lock(folder: Path, place: Path) -> AbstractContextManager[None]:
        target.write_text("theirs")
        return locked(folder, place)

    monkeypatch.setattr(unfinished_file, "_locked", finished_before_the_lock)
    with pytest.raises(HyperArcError, match="refused to overwrite"), continue_work(target, {}) as work:
        work.content.write_text("ours")
    assert target.read_text() == "theirs"


def test_a_link_to_nothing_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "made").symlink_to(tmp_path / "disk-that-is-not-mounted")
    with pytest.raises(HyperArcError, match="refused to overwrite"), continue_work(tmp_path / "made", {}) as work:
        work.content.write_text("ours")
    assert (tmp_path / "made").is_symlink()


def test_a_damaged_plan_and_an_unwritable_place_are_told(tmp_path: Path) -> None:
    target = tmp_path / "made"
    (tmp_path / ".made.unfinished").mkdir()
    (tmp_path / ".made.unfinished" / "plan.json").write_bytes(b"\xff[")
    with pytest.raises(HyperArcError, match="its plan cannot be read"), continue_work(target, {}):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(HyperArcError, match="could not be written"), continue_work(tmp_path / "file" / "made", {}):
        pass
