"""Image signatures: what the first bytes of a file say."""

import struct

import builders.image_cases as cases
import pytest
from builders.image_files import PICTURE, save

from fsq.images.signatures import FORMATS, HEAD_BYTES, format_of


def media(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return struct.pack(">I", len(body) + 4) + body + bytes(40)


FILES = {
    "png": (save(PICTURE), "PNG"),
    "jpeg": (save(PICTURE, "JPEG"), "JPEG"),
    "jpeg of a camera": (save(PICTURE, "JPEG", exif=b"Exif\0\0MM\0*"), "JPEG"),
    "webp": (cases.WEBP, "WEBP"),
    "bmp": (cases.BMP, "BMP"),
    "gif": (cases.GIF, "GIF"),
    "tiff": (cases.TIFF, "TIFF"),
    "big tiff": (save(PICTURE, "TIFF", big_tiff=True), "TIFF"),
    "avif": (save(PICTURE, "AVIF"), "AVIF"),
    "avif sequence": (media(b"avis", b"msf1"), "AVIF"),
    "avif by its compatible brands": (media(b"mif1", b"mif1", b"avif"), "AVIF"),
    "heic": (media(b"heic", b"mif1", b"heic"), "HEIC"),
    "heic of 10 bits": (media(b"heix"), "HEIC"),
    "heic by its compatible brands": (media(b"mif1", b"mif1", b"heic"), "HEIC"),
    "heif of another codec": (media(b"mif1", b"mif1", b"vvic"), "HEIF"),
    "canon raw 3": (media(b"crx ", b"isom"), "RAW"),
    "canon raw 2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "RAW"),
    "fuji raw": (b"FUJIFILMCCD-RAW 0201" + bytes(40), "RAW"),
    "jpeg xl stream": (b"\xff\x0a\xfa\x1f" + bytes(40), "JPEG XL"),
    "jpeg xl container": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
    "jpeg 2000": (save(PICTURE, "JPEG2000"), "JPEG 2000"),
    "ico": (save(PICTURE, "ICO"), "ICO"),
    "ppm": (save(PICTURE, "PPM"), "PNM"),
    "pgm with a comment": (b"P5 # made by hand\n16 16\n255\n", "PNM"),
    "pfm": (b"PF\n16 16\n-1.0\n", "PNM"),
    "pam": (b"P7\nWIDTH 16\n", "PNM"),
    "eps": (save(PICTURE, "EPS"), "PostScript"),
    "pdf": (save(PICTURE, "PDF"), "PDF"),
    "psd": (b"8BPS\0\x01" + bytes(40), "PSD"),
    "exr": (b"v/1\x01\2\0\0\0", "OpenEXR"),
    "dds": (save(PICTURE, "DDS"), "DDS"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "svg after a prologue": (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a -->\n<svg a="">', "SVG"),
    "dicom": (bytes(128) + b"DICM\2\0\0\0UL", "DICOM"),
    "video": (media(b"isom", b"isom", b"mp41"), None),
    "video of a telephone": (media(b"qt  "), None),
    "sound": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(24), None),
    "html": (b"<!DOCTYPE html><html><body><svg></svg></body></html>", None),
    "xml": (b'<?xml version="1.0"?><annotation></annotation>', None),
    "text": (b"P1 is the first text.", None),
    "text that begins with BM": (b"BMW is a maker of cars." * 9, None),
    "json": (b'{"a": 1}', None),
    "python array": (b"\x93NUMPY\x01\0v\0{'descr': '<f4'", None),
    "zip": (b"PK\3\4" + bytes(40), None),
    "zeros": (bytes(500), None),
    "font": (b"\0\1\0\0\0\x0c\0\x80", None),
    "one byte": (b"\xff", None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize(("data", "expected"), FILES.values(), ids=FILES.keys())
def test_the_first_bytes_tell_the_format(data: bytes, expected: str | None):
    assert format_of(data) == format_of(data[:HEAD_BYTES]) == expected
    if expected in FORMATS:
        assert format_of(data[:32]) == expected


@pytest.mark.parametrize(("data", "expected"), FILES.values(), ids=FILES.keys())
def test_fewer_bytes_tell_less(data: bytes, expected: str | None):
    for length in range(32):
        assert format_of(data[:length]) in (expected, "HEIF", "TIFF", "BMP", None)


def test_every_format_that_is_decoded_has_a_signature():
    assert {name for _, name in FILES.values()} > set(FORMATS)
