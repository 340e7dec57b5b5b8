"""Plain JPEGs: with or without the shorter way, the same pixels and the same reasons."""

import random
import tarfile
from collections.abc import Iterator
from itertools import islice
from unittest import mock

import builders.image_files as make
import cv2
import numpy as np
import pytest
from builders.image_files import save
from builders.paths import SHARED
from PIL import Image

from fsq.errors import BadImageError
from fsq.images import decode as images
from fsq.images.decode import decode_image
from fsq.images.jpeg_fast_path import decode_plain_jpeg, without_applications
from fsq.images.signatures import format_of
from fsq.images.spec import DEFAULT_RULES, DecodeRules

SIZES = [(1, 1), (7, 9), (8, 8), (16, 16), (31, 33), (48, 64), (131, 57)]
FACTORS = {
    "4:1:1": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth on the left and noise on the right."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (width, height))
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    return np.where(np.arange(width)[None, :, None] < width // 2, smooth, noise)


def encode(pixels: np.ndarray, sampling: str = "4:2:0", **options: int) -> bytes:
    flags = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, FACTORS[sampling]]
    for name, value in options.items():
        flags += [getattr(cv2, f"IMWRITE_JPEG_{name.upper()}"), value]
    return cv2.imencode(".jpg", pixels, flags)[1].tobytes()


def ours(data: bytes, channels: int, rules: DecodeRules = DEFAULT_RULES) -> np.ndarray | str:
    try:
        return decode_image(data, channels, rules)
    except BadImageError as error:
        return str(error)


def pillows(data: bytes, channels: int, rules: DecodeRules = DEFAULT_RULES) -> np.ndarray | str:
    """What comes out without the shorter way: pixels, or the reason of refusal."""
    nothing = mock.Mock(return_value=None)
    with mock.patch.multiple(images, decode_plain_jpeg=nothing, _DECODE_PLAIN={}):
        return ours(data, channels, rules)


def check_same(data: bytes, channels: int, rules: DecodeRules = DEFAULT_RULES) -> bool:
    """Compares what is decoded with what would be if there were no shorter way.

    Returns:
      Whether it was taken.
    """
    got, expected = ours(data, channels, rules), pillows(data, channels, rules)
    assert type(got) is type(expected), (got, expected, data.hex())
    np.testing.assert_array_equal(got, expected, err_msg=data.hex())
    return isinstance(got, np.ndarray)


def check_plain(data: bytes, channels: int) -> None:
    fast = decode_plain_jpeg(data, channels)
    assert fast is not None
    np.testing.assert_array_equal(fast, pillows(data, channels))


@pytest.mark.parametrize("quality", [1, 10, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("sampling", [*FACTORS, "grey"])
def test_a_plain_jpeg_gives_the_pixels_that_pillow_gives(sampling, progressive, quality):
    for number, size in enumerate(SIZES):
        pixels = picture(*size, seed=number)
        for optimize, rst_interval in ((0, 0), (1, 0), (0, 3)):
            data = encode(
                pixels[..., 0] if sampling == "grey" else pixels,
                "4:4:4" if sampling == "grey" else sampling,
                quality=quality,
                progressive=progressive,
                optimize=optimize,
                rst_interval=rst_interval,
            )
            for channels in (1, 3):
                check_plain(data, channels)


@pytest.mark.parametrize(
    "data",
    [
        save(picture(20, 30), "JPEG", comment=b"a comment"),
        save(picture(20, 30), "JPEG", dpi=(72, 72)),
        save(picture(20, 30), "JPEG", keep_rgb=True),
        make.jpeg_without(save(picture(20, 30), "JPEG"), 0xE0),
        save(picture(20, 30), "JPEG") + b"behind",
    ],
    ids=["comment", "density", "RGB", "without JFIF", "bytes behind"],
)
def test_what_does_not_change_the_picture_leaves_it_plain(data: bytes):
    check_plain(data, 1)
    check_plain(data, 3)


def with_comments(count: int, comment: bytes) -> bytes:
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment
    data = save(picture(20, 30), "JPEG")
    return data[:2] + count * segment + data[2:]


def with_adobe(transform: int) -> bytes:
    data = save(picture(20, 30), "JPEG")
    return data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes((transform,)) + data[2:]


@pytest.mark.parametrize("transform", [0, 1, 2])
def test_adobes_marker_is_understood_as_pillow_does(transform: int):
    check_plain(with_adobe(transform), 3)
    alone = make.jpeg_without(with_adobe(transform), 0xE0)
    if transform == 2:  # libjpeg warns of it, where JFIF does not say better
        assert decode_plain_jpeg(alone, 3) is None
        np.testing.assert_array_equal(ours(alone, 3), pillows(alone, 3))
    else:
        check_plain(alone, 3)


@pytest.mark.parametrize(
    "data",
    [
        save(picture(20, 30), "JPEG", exif=make.exif(1)),
        save(picture(20, 30), "JPEG", exif=make.exif(6)),
        save(picture(20, 30), "JPEG", icc_profile=b"a profile"),
        save(Image.new("CMYK", (20, 30)), "JPEG"),
        save(picture(20, 30), "MPO", save_all=True, append_images=[Image.new("RGB", (20, 30))]),
        with_comments(2, b"a" * 60_000),
        save(Image.new("RGB", (1025, 1024)), "JPEG"),
        save(picture(20, 30), "JPEG")[:-2],
        save(picture(20, 30), "JPEG")[:100],
        make.jpeg_with_byte(save(picture(20, 30), "JPEG"), 0xC0, 4, 12),
        save(picture(20, 30)),
        b"",
    ],
    ids=[
        *("EXIF", "EXIF, turned", "profile", "CMYK", "MPO", "long header", "above 2^20 pixels"),
        *("its end missing", "ends in its header", "12 bits", "PNG", "no bytes"),
    ],
)
def test_a_jpeg_with_anything_more_or_less_to_it_is_left_to_pillow(data: bytes):
    assert decode_plain_jpeg(data, 3) is None


def test_a_plain_jpeg_may_be_of_any_length():
    data = save(picture(20, 30), "JPEG")
    check_plain(data + bytes(2**17), 3)
    check_plain(with_comments(1, b"a" * 60_000), 3)
    long = save(picture(200, 200), "JPEG", quality=100, subsampling=0)
    assert len(long) > 2**16
    check_plain(long, 1)
    check_plain(long, 3)


def test_the_limit_of_pixels_is_that_of_the_rules():
    data = save(picture(40, 40), "JPEG")
    assert decode_image(data, 3, DecodeRules(max_pixels=1600)).shape == (40, 40, 3)
    with pytest.raises(BadImageError, match="expected at most 1,599 pixels, got 40 x 40"):
        decode_image(data, 3, DecodeRules(max_pixels=1599))


def in_three_scans(
    factors: tuple[tuple[int, int], ...], size: tuple[int, int] = (37, 50), identities=b"\1\2\3"
) -> bytes:
    """A colour JPEG put together from three grey ones, each the scan of one component.

    Args:
      factors: Horizontal and vertical, of each component.
      size: Height and width in pixels.
      identities: What the components are called.
    """
    widest, highest = (max(several) for several in zip(*factors, strict=True))
    frame, scans, header = b"", b"", b""
    for number, (across, down) in zip(identities, factors, strict=True):
        height, width = -(-size[0] * down // highest), -(-size[1] * across // widest)
        grey = encode(picture(height, width, number)[..., 0], "4:4:4", quality=80)
        begin, scan = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
        header = grey[:begin]  # with the quantization, the same in all
        tables = grey[begin + 13 : scan]
        frame += bytes((number, across << 4 | down, 0))
        scans += grey[scan : scan + 5] + bytes((number,)) + grey[scan + 6 : -2]
    sides = size[0].to_bytes(2) + size[1].to_bytes(2)
    return b"".join(
        (header, b"\xff\xc0\0\x11\x08", sides, b"\3", frame, tables, scans, b"\xff\xd9")
    )


PLAIN_FACTORS = [
    ((1, 1), (1, 1), (1, 1)),
    ((2, 2), (1, 1), (1, 1)),
    ((2, 1), (1, 1), (1, 1)),
    ((4, 1), (1, 1), (1, 1)),
    ((1, 2), (1, 1), (1, 1)),
]
ODD_FACTORS = [
    ((2, 2), (2, 2), (2, 2)),
    ((1, 4), (1, 1), (1, 1)),
    ((3, 1), (1, 1), (1, 1)),
    ((1, 3), (1, 1), (1, 1)),
    ((3, 3), (1, 1), (1, 1)),
    ((4, 4), (1, 1), (1, 1)),
    ((4, 2), (2, 1), (1, 1)),
    ((2, 1), (1, 2), (1, 1)),
    ((2, 2), (2, 1), (1, 2)),
    ((1, 1), (2, 2), (1, 1)),
    ((1, 2), (2, 1), (2, 2)),
    ((3, 1), (2, 1), (1, 1)),
]


@pytest.mark.parametrize("factors", [*PLAIN_FACTORS, *ODD_FACTORS], ids=str)
@pytest.mark.parametrize("identities", [b"\1\2\3", b"RGB", b"\0\1\2"])
def test_components_of_any_factors_in_scans_of_their_own_have_the_same_outcome(factors, identities):
    for size in ((37, 50), (16, 16), (1, 1)):
        named = in_three_scans(factors, size, identities)
        for data in (named, make.jpeg_without(named, 0xE0)):  # the names count where JFIF is absent
            for channels in (1, 3):
                check_same(data, channels)
                if factors in PLAIN_FACTORS:
                    check_plain(data, channels)


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_closed_after_any_of_its_scans_has_the_same_outcome(size):
    data = encode(picture(*size), quality=70, progressive=1)
    at, count = data.index(b"\xff\xda"), 0
    while (at := data.find(b"\xff\xda", at + 2)) > 0:
        # Before a scan stand its tables.
        for end in {at, data.rfind(b"\xff\xc4", 0, at)}:
            check_same(data[:end] + b"\xff\xd9", 3)
            check_same(data[:end] + b"\xff\xd9", 1)
            count += 1
    assert count >= 4


def with_segments(
    *segments: tuple[int, bytes], data: bytes = save(picture(20, 30), "JPEG")
) -> bytes:
    """Puts segments in at the beginning, each a marker's second byte and a content."""
    inserted = [
        bytes((0xFF, code)) + (len(content) + 2).to_bytes(2) + content for code, content in segments
    ]
    return data[:2] + b"".join(inserted) + data[2:]


THUMBNAIL = save(picture(8, 8), "JPEG")
APPLICATIONS = {
    "EXIF": [(0xE1, make.exif(1))],
    "EXIF of nothing": [(0xE1, Image.Exif().tobytes())],
    "EXIF with a preview": [(0xE1, make.exif(1) + THUMBNAIL)],
    "EXIF damaged": [(0xE1, make.exif(1)[:20])],
    "EXIF that is none": [(0xE1, b"Exif\0\0neither of both")],
    "EXIF twice": [(0xE1, make.exif(1)), (0xE1, make.exif(6))],
    "XMP": [(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation='6'/>")],
    "profile": [(0xE2, b"ICC_PROFILE\0\1\1a profile")],
    "profile cut": [(0xE2, b"ICC_PROFILE\0")],
    "several": [(0xE2, b"MPF\0MM\0*"), (0xE2, b"FPXR\0"), (0xEC, b"Ducky"), (0xEF, b"")],
    "Photoshop": [(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x10" + bytes(16))],
    "Photoshop cut": [(0xED, b"Photoshop 3.0\x008BIM\x03\xed")],
    "Adobe's of another kind": [(0xEE, b"Adobe")],
    "comment": [(0xFE, THUMBNAIL)],
}


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_applications_write_into_a_header_changes_no_outcome(name: str, channels: int):
    data = with_segments(*APPLICATIONS[name])
    check_same(data, channels)
    check_same(make.jpeg_without(data, 0xE0), channels)  # it gives a density, else EXIF is asked
    check_same(data[:-20], channels)
    check_same(data[:-20], channels, DecodeRules(truncated="fill"))


@pytest.mark.parametrize("orientation", range(10))
def test_only_an_upright_picture_takes_the_shorter_way(orientation: int):
    data = save(picture(20, 30), "JPEG", exif=make.exif(orientation))
    assert check_same(data, 3) and check_same(data, 1)
    with mock.patch.object(images, "decode_plain_jpeg", wraps=decode_plain_jpeg) as shorter:
        decode_image(data, 3)
    assert shorter.called == (orientation not in range(2, 9))


def test_leaving_out_what_applications_wrote_leaves_the_rest():
    plain = save(picture(20, 30), "JPEG")
    assert without_applications(plain) == plain
    assert without_applications(with_segments(*APPLICATIONS["several"])) == plain
    assert without_applications(with_segments(*APPLICATIONS["EXIF with a preview"])) == plain
    for end in range(2, 700):
        cut = with_segments(*APPLICATIONS["EXIF"])[:end]
        bare = without_applications(cut)
        assert cut.endswith(bare[2:])


def test_a_large_picture_is_decoded_only_if_it_has_an_end():
    data = save(picture(1100, 1000), "JPEG", quality=50)
    assert decode_plain_jpeg(data, 3) is None
    fast = decode_plain_jpeg(data, 3, max_pixels=1_100_000)
    np.testing.assert_array_equal(fast, pillows(data, 3))
    assert check_same(data, 1)
    with mock.patch("simplejpeg.decode_jpeg") as decode:
        assert decode_plain_jpeg(data[:-9], 3, max_pixels=1_100_000) is None
        assert decode_plain_jpeg(data, 3, max_pixels=1_099_999) is None
    assert not decode.called


def test_what_there_is_no_memory_for_is_left_to_pillow():
    with mock.patch("simplejpeg.decode_jpeg", side_effect=MemoryError):
        assert decode_plain_jpeg(save(picture(20, 30), "JPEG"), 3) is None


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Flips, changes, takes out, puts in or cuts off; an end may be put behind the cut."""
    scan = data.index(b"\xff\xda")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(rng.choice((0, min(scan, len(data) - 1))), len(data))
        head, byte, tail = data[:at], data[at], data[at + 1 :]
        match rng.randrange(7):
            case 0 | 1:
                data = head + bytes((byte ^ 1 << rng.randrange(8),)) + tail
            case 2:
                data = head + rng.choice((b"\xff", b"\0", b"\xd9", rng.randbytes(1))) + tail
            case 3:
                data = head + tail[rng.choice((0, 1, 10)) :]
            case 4:
                data = head + rng.randbytes(rng.choice((1, 2, 5))) + data[at:]
            case 5:
                data = head + b"\xff\xd9"
            case 6:
                data = head
        if not data:
            break
    return data


DAMAGED_KINDS = [
    encode(picture(32, 32), quality=75),
    encode(picture(33, 47), "4:4:4", quality=90, progressive=1),
    encode(picture(64, 48), "4:2:2", quality=60, progressive=1),
    encode(picture(64, 64), rst_interval=2, quality=85),
    encode(picture(40, 31)[..., 0], "4:4:4", quality=80, optimize=1),
    save(picture(17, 80), "JPEG", subsampling=2, comment=b"a comment"),
    with_adobe(0),
    encode(picture(21, 40), "4:1:1", quality=80),
    save(picture(20, 30), "JPEG", exif=make.exif(6)),
    make.jpeg_without(
        with_segments(*APPLICATIONS["EXIF with a preview"], *APPLICATIONS["profile"]), 0xE0
    ),
    with_segments(*APPLICATIONS["Photoshop"], *APPLICATIONS["XMP"]),
    in_three_scans(((2, 2), (1, 1), (1, 1))),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged files
def test_a_damaged_jpeg_has_the_outcome_that_it_has_without_the_shorter_way():
    check_damages(count=4000, seed=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", range(len(DAMAGED_KINDS)))
def test_any_byte_changed_has_the_outcome_that_it_has_without_the_shorter_way(kind: int):
    data = DAMAGED_KINDS[kind]
    # Two changes for each byte of the header, one for every few of the pixels.
    scan = data.index(b"\xff\xda") + 14
    changes = [(at, mask) for at in range(scan) for mask in (1 << at % 8, 0xFF)]
    changes += [(at, 1 << at % 8) for at in range(scan, len(data), max(1, len(data) // 500))]
    taken = 0
    for at, mask in changes:
        changed = data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]
        taken += check_same(changed, 1 if at % 5 == 0 else 3)
    assert 0 < taken < len(changes)


@pytest.mark.parametrize("kind", range(len(DAMAGED_KINDS)))
@pytest.mark.parametrize("truncated", ["refuse", "fill"])
def test_a_cut_has_the_outcome_that_it_has_without_the_shorter_way(kind: int, truncated):
    rules = DecodeRules(truncated=truncated)
    data = DAMAGED_KINDS[kind]
    outcomes = {check_same(data[:end], 3, rules) for end in range(1, len(data), 13)}
    assert outcomes == ({False} if truncated == "refuse" else {False, True})


def check_damages(count: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        data = damaged(rng.choice(DAMAGED_KINDS), rng)
        channels = rng.choice((1, 3))
        if format_of(data) == "JPEG":
            check_same(data, channels)
        else:
            assert decode_plain_jpeg(data, channels) is None


def files_in(name: str) -> Iterator[bytes]:
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name.endswith(".jpg"):
                file = tar.extractfile(member)
                assert file is not None
                yield file.read()


def test_photographs_keep_their_pixels():
    plain = 0
    for number, data in enumerate(files_in("clothing_photos.tar")):
        plain += decode_plain_jpeg(data, 3) is not None
        channels = 1 if number % 8 == 0 else 3
        np.testing.assert_array_equal(ours(data, channels), pillows(data, channels))
    assert plain == 762  # the others have EXIF


@pytest.mark.parametrize("name", ["cifar10_jpeg_train.tar", "cifar10_jpeg_test.tar"])
def test_small_pictures_of_a_dataset_are_all_plain(name: str):
    for data in islice(files_in(name), 0, 8000, 4):
        check_plain(data, 3)
