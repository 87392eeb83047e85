"""Picture bytes to RGB: formats, modes, orientation, limits, hostile files."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperarc.errors import DataError
from hyperarc.faces import image as image_module
from hyperarc.faces.image import ImageLimits, decode


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth gradient, reddish at the left and bluish at the right, so that swapped channels show."""
    y, x = np.mgrid[:height, :width]
    return np.stack([250 - 3 * x, 2 * y + 20, 3 * x], axis=-1).clip(0, 255).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of chunks, each a kind and its data."""
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def huge_png(side: int) -> bytes:
    """A PNG of a few dozen bytes whose header claims side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return png((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))


@pytest.fixture(params=["simplejpeg", "pillow"])
def either_jpeg(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both JPEG paths, as if simplejpeg were not installed in the second."""
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(image_module, "_simplejpeg", lambda: None)
    return str(request.param)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_return_the_pixels(kind: str) -> None:
    pixels = decode(encoded(Image.fromarray(picture()), kind))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, picture())


def test_lossless_webp_returns_the_pixels() -> None:
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(picture()), "WEBP", lossless=True)), picture())


def test_jpeg_is_rgb_on_both_paths(either_jpeg: str) -> None:
    data = encoded(Image.fromarray(picture()), "JPEG", quality=95, subsampling=0)
    assert np.abs(decode(data).astype(int) - picture()).max() <= 6


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_both_jpeg_paths_agree(subsampling: int, progressive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", quality=90, subsampling=subsampling, progressive=progressive)
    fast = decode(data)
    monkeypatch.setattr(image_module, "_simplejpeg", lambda: None)
    assert np.abs(fast.astype(int) - decode(data)).max() <= 2


def test_the_fast_path_is_taken_for_plain_jpeg_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    monkeypatch.setattr(image_module, "_decode_pillow", lambda *_: None)
    assert decode(encoded(Image.fromarray(picture()), "JPEG")) is not None
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(Image.fromarray(picture()), "JPEG", exif=exif)) is None
    assert decode(encoded(Image.fromarray(picture()).convert("CMYK"), "JPEG")) is None


def test_gray_palette_bilevel_and_cmyk_become_rgb(either_jpeg: str) -> None:
    rgb = Image.fromarray(picture())
    gray = np.asarray(rgb.convert("L"))
    np.testing.assert_array_equal(decode(encoded(rgb.convert("L"), "PNG")), np.dstack([gray] * 3))
    assert np.abs(decode(encoded(rgb.convert("L"), "JPEG", quality=98)).astype(int) - gray[..., None]).max() < 6
    assert set(np.unique(decode(encoded(rgb.convert("1"), "PNG")))) == {0, 255}
    palette = rgb.quantize(64)
    np.testing.assert_array_equal(decode(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    cmyk = decode(encoded(rgb.convert("CMYK"), "JPEG", quality=98, subsampling=0))
    assert np.abs(cmyk.astype(int) - picture()).max() < 12
    assert np.abs(decode(encoded(rgb.convert("CMYK"), "TIFF")).astype(int) - picture()).max() <= 1
    assert np.abs(decode(encoded(rgb.convert("YCbCr"), "TIFF")).astype(int) - picture()).max() <= 3


def test_sixteen_bit_gray_keeps_its_upper_byte() -> None:
    deep = (np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 27).astype(np.uint16)
    expected = np.dstack([(deep >> 8).astype(np.uint8)] * 3)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(deep), "PNG")), expected)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(deep), "TIFF")), expected)


@pytest.mark.parametrize("color", [2, 6])  # without and with alpha
def test_sixteen_bit_color_keeps_its_upper_byte(color: int) -> None:
    deep = np.full((40, 60, 3 if color == 2 else 4), 0xFFFF, ">u2")
    deep[..., :3] = picture().astype(">u2") * 256 + 200
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    header = struct.pack(">IIBBBBB", 60, 40, 16, color, 0, 0, 0)
    data = png((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    np.testing.assert_array_equal(decode(data), picture())


def test_transparent_colors_of_palettes_and_grays_lie_on_black() -> None:
    gray = Image.fromarray(np.repeat(np.arange(0, 200, 10, np.uint8)[None], 4, axis=0))
    expected = np.asarray(gray).copy()
    expected[expected == 50] = 0
    for image, index in ((gray, 50), (gray.convert("P"), 50)):
        pixels = decode(encoded(image, "PNG", transparency=index))
        np.testing.assert_array_equal(pixels, np.dstack([expected] * 3))
    half = Image.merge("LA", (gray, Image.new("L", gray.size, 128)))
    assert np.abs(decode(encoded(half, "PNG"))[..., 0].astype(int) - np.asarray(gray) * (128 / 255)).max() <= 1


def test_transparency_lies_on_black() -> None:
    rgba = np.dstack([np.full((8, 8, 3), 200, np.uint8), np.zeros((8, 8), np.uint8)])
    rgba[:, 4:, 3] = 255
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        pixels = decode(encoded(Image.fromarray(rgba), kind, **options))
        assert (pixels[:, :4] == 0).all()
        assert (pixels[:, 4:] == 200).all()


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(DataError, match="floating point"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_first_of_several_frames(kind: str, either_jpeg: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert pixels.shape == (8, 8, 3)
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(Image.fromarray(picture()), kind, exif=exif, quality=100))
    expected = turns[orientation](picture())
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 3


def test_orientation_in_xmp_alone_is_applied(either_jpeg: str) -> None:
    data = encoded(Image.fromarray(picture()), "JPEG")
    block = (
        b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    assert np.abs(np.rot90(decode(turned)).astype(int) - decode(data)).max() <= 4


def test_a_damaged_exif_block_counts_as_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(picture()), "JPEG", exif=exif)
    at = data.find(b"Exif\0\0") + 6
    assert decode(data).shape == (60, 40, 3)
    assert decode(data[:at] + b"XXXX" + data[at + 4 :]).shape == (40, 60, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused_by_name(kind: str, part: float, either_jpeg: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(DataError, match=r"ann/1\.x: .*(picture|unreadable)"):
        decode(data[: int(len(data) * part)], where="ann/1.x")


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\0" * 1000, b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 "])
def test_what_is_no_picture_is_refused_by_name(data: bytes, either_jpeg: str) -> None:
    with pytest.raises(DataError, match=r"^ann/1\.jpg: "):
        decode(data, where="ann/1.jpg")


def test_other_formats_are_not_opened() -> None:
    with pytest.raises(DataError, match="JPEG, PNG, WEBP"):
        decode(encoded(Image.fromarray(picture()), "PPM"))


def test_decompression_bombs_are_refused_by_their_header(either_jpeg: str) -> None:
    for side in (9_000, 50_000):  # above our limit, and above Pillow's own
        assert len(huge_png(side)) < 100
        said = rf"at most 64000000 pixels, its header says ({side}x{side}|{side**2} pixels); "
        with pytest.raises(DataError, match=said):
            decode(huge_png(side), where="bomb.png")
    with pytest.raises(DataError, match=r"at most 100 pixels, its header says 60x40"):
        decode(encoded(Image.fromarray(picture()), "JPEG"), limits=ImageLimits(pixels=100))
    with pytest.raises(DataError, match="at most 10 bytes"):
        decode(encoded(Image.fromarray(picture()), "JPEG"), limits=ImageLimits(bytes=10))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_never_escapes_as_another_error(either_jpeg: str) -> None:
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"):
        good = np.frombuffer(encoded(Image.fromarray(picture()), kind), np.uint8)
        for _ in range(40):
            bad = good.copy()
            at = rng.integers(0, len(bad), 4)
            bad[at] = rng.integers(0, 256, 4)
            with contextlib.suppress(DataError):
                assert decode(bad.tobytes(), limits=ImageLimits(pixels=10**6)).ndim == 3
