"""Frames of videos that this test writes: times, colors, the eight ways to hold a camera, limits, damage, playlists."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hyperarc.errors import DataError, HyperArcError
from hyperarc.faces.video import VideoLimits, read_frames

av = pytest.importorskip("av")

Pixels = npt.NDArray[np.uint8]
ONE = 65536  # of a display matrix
RED, GREEN, BLUE, BLACK = (200, 30, 30), (30, 200, 30), (30, 30, 200), (0, 0, 0)


def corners(width: int = 64, height: int = 48) -> Pixels:
    """Red, green / blue, black."""
    picture = np.zeros((height, width, 3), np.uint8)
    rows, columns = height // 2, width // 2
    picture[:rows, :columns], picture[:rows, columns:], picture[rows:, :columns] = RED, GREEN, BLUE
    return picture


def write_video(path: Path, frames: int = 20, size: tuple[int, int] = (64, 48), **how: Any) -> Path:
    """MPEG-4 or MPEG-2 by FFmpeg's own encoders, ten frames a second, one corner brighter by 8 each time."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(how.get("codec", "mpeg4"), rate=how.get("rate", 10))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if "pixel_ratio" in how:
            stream.codec_context.sample_aspect_ratio = how["pixel_ratio"]
        if "matrix" in how:
            stream.set_display_matrix(how["matrix"])
        for number in range(frames):
            picture = corners(*size)
            picture[size[1] // 2 :, size[0] // 2 :] = 8 * number
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def quarters(frame: Pixels) -> list[list[int]]:
    """Colors at the middle of the four quarters, as they are read: rows, then columns."""
    height, width = frame.shape[:2]
    return [frame[y * height // 4, x * width // 4].tolist() for y in (1, 3) for x in (1, 3)]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.ts"])
def test_frames_come_in_order_with_their_times(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name)
    path = path.rename(tmp_path / "no-ending")
    found = list(read_frames(path))
    assert [seconds for seconds, _ in found] == pytest.approx([k / 10 for k in range(20)], abs=2e-3)
    for number, (_, frame) in enumerate(found):
        assert frame.dtype == np.uint8
        assert frame.shape == (48, 64, 3)
        assert frame.flags.c_contiguous
        np.testing.assert_allclose(quarters(frame), [RED, GREEN, BLUE, (8 * number,) * 3], atol=6)


def test_every_so_many_seconds(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", frames=30)
    for every_s, wanted in (
        (0.1, [k / 10 for k in range(30)]),
        (0.5, [0, 0.5, 1, 1.5, 2, 2.5]),
        (0.25, [0, 0.3, 0.5, 0.8, 1, 1.3, 1.5, 1.8, 2, 2.3, 2.5, 2.8]),
        (2.9, [0, 2.9]),
        (1e9, [0]),
    ):
        assert [seconds for seconds, _ in read_frames(path, every_s=every_s)] == pytest.approx(wanted), every_s
    with pytest.raises(HyperArcError, match="every_s of at least 0 seconds, got -1"):
        next(read_frames(path, every_s=-1))


UPRIGHT = {  # matrix: a, b, -, c, d of x' = a x + c y, y' = b x + d y; then what comes where
    "as it is": ((1, 0, 0, 1), [RED, GREEN, BLUE, BLACK]),
    "mirrored": ((-1, 0, 0, 1), [GREEN, RED, BLACK, BLUE]),
    "half a turn": ((-1, 0, 0, -1), [BLACK, BLUE, GREEN, RED]),
    "upside down": ((1, 0, 0, -1), [BLUE, BLACK, RED, GREEN]),
    "transposed": ((0, 1, 1, 0), [RED, BLUE, GREEN, BLACK]),
    "clockwise": ((0, 1, -1, 0), [BLUE, RED, BLACK, GREEN]),
    "counterclockwise": ((0, -1, 1, 0), [GREEN, BLACK, RED, BLUE]),
    "transposed, half a turn": ((0, -1, -1, 0), [BLACK, GREEN, BLUE, RED]),
}


@pytest.mark.parametrize("name", UPRIGHT)
def test_frames_are_upright(tmp_path: Path, name: str) -> None:
    (a, b, c, d), wanted = UPRIGHT[name]
    matrix = (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 2**30)
    path = write_video(tmp_path / "phone.mp4", frames=1, matrix=matrix)
    ((_, frame),) = read_frames(path)
    assert frame.shape == ((48, 64, 3) if a else (64, 48, 3))
    assert frame.flags.c_contiguous
    np.testing.assert_allclose(quarters(frame), wanted, atol=8)


def test_pixels_become_square(tmp_path: Path) -> None:
    path = write_video(tmp_path / "dvd.mp4", frames=1, pixel_ratio=Fraction(3, 2))
    ((_, frame),) = read_frames(path)
    assert frame.shape == (48, 96, 3)
    np.testing.assert_allclose(quarters(frame), [RED, GREEN, BLUE, BLACK], atol=8)


def open_files(path: Path) -> int:
    folder = Path("/proc/self/fd")
    return sum(os.path.realpath(one) == str(path) for one in folder.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_is_closed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4").resolve()
    frames = read_frames(path)
    assert len(list(itertools.islice(frames, 3))) == 3
    assert open_files(path) == 1
    frames.close()  # type: ignore[attr-defined]
    assert open_files(path) == 0
    assert len(list(read_frames(path))) == 20
    assert open_files(path) == 0


def test_limits(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    with pytest.raises(DataError, match=r"clip\.mp4: expected .* at most 3000 pixels a frame, got 64 x 48; shorten it"):
        next(read_frames(path, limits=VideoLimits(pixels=3000)))
    frames = read_frames(path, limits=VideoLimits(frames=19))
    assert len(list(itertools.islice(frames, 19))) == 19
    with pytest.raises(DataError, match="at most 19 frames, got more"):
        next(frames)
    assert len(list(read_frames(path, limits=VideoLimits(pixels=64 * 48, frames=20)))) == 20


def test_frames_that_grow_on_the_way_are_refused(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.ts", codec="mpeg2video", rate=25)
    large = write_video(tmp_path / "large.ts", size=(320, 240), codec="mpeg2video", rate=25)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    assert {frame.shape for _, frame in read_frames(path)} == {(48, 64, 3), (240, 320, 3)}
    for limit in (5000, 70000):  # refused by the decoder; refused before it is made RGB
        frames = read_frames(path, limits=VideoLimits(pixels=limit))
        assert all(frame.shape == (48, 64, 3) for _, frame in itertools.islice(frames, 15))
        with pytest.raises(DataError, match=r"both\.ts: expected a video"):
            list(frames)


def test_playlists_are_not_followed(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.ts", codec="mpeg2video", rate=25)
    lists = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip.name}\n#EXT-X-ENDLIST\n",
        "list.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{clip}\n#EXT-X-ENDLIST\n",
        "list.txt": f"ffconcat version 1.0\nfile {clip.name}\n",
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="expected a video, got what cannot be read after 0 frames"):
            next(read_frames(tmp_path / name))


def test_what_is_no_video_is_one_error(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mp4").read_bytes()
    for name, data in {
        "empty.mp4": b"",
        "noise.mp4": np.random.default_rng(0).bytes(5000),
        "cut.mp4": whole[: len(whole) // 2],
        "picture.mp4": b"\x89PNG\r\n\x1a\n" + bytes(100),
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"{name}: expected a video, got (what cannot be read|a file without)"):
            list(read_frames(tmp_path / name))
    for path in (tmp_path / "gone.mp4", tmp_path):
        with pytest.raises(DataError, match="expected a video file, found none; check the path"):
            list(read_frames(path))
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        for packet in (*stream.encode(silence), *stream.encode(None)):
            container.mux(packet)
    with pytest.raises(DataError, match=r"sound\.mp4: expected a video, got a file without pictures"):
        list(read_frames(tmp_path / "sound.mp4"))


def test_damage_is_no_other_error(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.avi").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        data = bytearray(whole[: int(rng.integers(1, len(whole)))] if rng.random() < 0.5 else whole)
        for at in rng.integers(0, len(data), 5):
            data[at] = int(rng.integers(256))
        (tmp_path / "damaged.avi").write_bytes(data)
        with contextlib.suppress(DataError):
            assert all(frame.dtype == np.uint8 for _, frame in read_frames(tmp_path / "damaged.avi"))


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hyperarc.faces import video

    video._pyav.cache_clear()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(HyperArcError, match=r"PyAV is not installed; pip install 'hyperarc\[video\]'"):
        next(read_frames(tmp_path / "clip.mp4"))
