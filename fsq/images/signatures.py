"""Image signatures: the format of an image file, from its first bytes and never from its name."""

import re

HEAD_BYTES = 256  # enough for every format below
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # those that are decoded

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"II\xbc\x01": "JPEG XR",
    b"8BPS\0": "PSD",
    b"gimp xcf ": "XCF",
    b"%PDF-": "PDF",
    b"%!PS-Adobe": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"AT&TFORM": "DjVu",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"#?RGBE": "Radiance HDR",
    b"DDS ": "DDS",
    b"\xabKTX ": "KTX",
    b"qoif": "QOI",
    b"BPG\xfb": "BPG",
    b"FLIF": "FLIF",
    b"icns": "ICNS",
    b"SIMPLE  =": "FITS",
    b"FUJIFILMCCD-RAW": "RAW",
    b"IIRO": "RAW",
    b"IIRS": "RAW",
    b"IIU\0": "RAW",
    b"FOVb": "RAW",
}
# The two letters "BM" may begin a text too, so the length of the header is compared.
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_PNM = re.compile(rb"P[1-6]\s+[#\d]|P7\n|P[Ff]\s+\d")
_SVG = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml.*|<!--.*)?<(svg|!DOCTYPE svg)\b", re.DOTALL)
# Brands of ISO base media files; the general ones are compatible with a specific one.
_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm"), "HEIC"),
    b"hevs": "HEIC",
    b"crx ": "RAW",
    b"mif1": "HEIF",
    b"mif2": "HEIF",
    b"msf1": "HEIF",
}


def format_of(head: bytes) -> str | None:
    r"""Returns the name of an image format, decoded or not; None if no image begins like this.

    Camera files that are TIFFs inside (NEF, ARW, DNG) count as TIFF, except Canon's.

    Args:
      head: The first `HEAD_BYTES` of a file, or all of it.

    >>> format_of(b"\xff\xd8\xff\xe0\0\x10JFIF"), format_of(b"8BPS\0\1"), format_of(b"text")
    ('JPEG', 'PSD', None)
    """
    head = head[:HEAD_BYTES]
    if head[:4] == b"II*\0" and head[8:10] == b"CR":
        return "RAW"
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and len(head) >= 12:
        return _format_of_brands(head)
    if head[:2] == b"BM" and (
        len(head) < 18 or int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    ):
        return "BMP"
    return _format_of_weak_signature(head)


def _format_of_brands(head: bytes) -> str | None:
    brands = head[8:12] + head[16 : int.from_bytes(head[:4])]
    major, *others = [_BRANDS.get(brands[at : at + 4]) for at in range(0, len(brands), 4)]
    specific = [name for name in others if name not in (None, "HEIF")]
    return specific[0] if major == "HEIF" and specific else major


def _format_of_weak_signature(head: bytes) -> str | None:
    if head[128:132] == b"DICM":
        return "DICOM"
    # Type, number of images, and the byte that is 0 in the first image's entry.
    if head[:4] in (b"\0\0\1\0", b"\0\0\2\0") and 0 < int.from_bytes(head[4:6], "little") < 256:
        return "ICO" if head[9:10] == b"\0" else None
    if _PNM.match(head):
        return "PNM"
    return "SVG" if _SVG.match(head) else None
