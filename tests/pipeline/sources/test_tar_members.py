"""Members of tars are those that `tarfile` finds; damage is an error, never an early end."""

import io
import random
import tarfile
from pathlib import Path

import pytest

from fsq.errors import DataError
from pipeline.sources.tar_members import BLOCK, DamagedTarError, Member, read_content, read_member

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = ("a.jpg", "b/c.jpg", "x/" * 40 + "y.png", "d" * 99, "e" * 100, "über/\u2603.txt")
LONG = ("f" * 101, "g/" * 120 + "h.jpg", "\udcff.jpg")


def archive(format_name: str, names: tuple[str, ...], mtime: float = 0) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=FORMATS[format_name]) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = number * 300, mtime
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
        tar.addfile(link)
    return target.getvalue()


def members_of(data: bytes) -> list[Member]:
    file, offset, found = io.BytesIO(data), 0, []
    while (member := read_member(file, offset)) is not None:
        found.append(member)
        assert member.end > offset
        offset = member.end
    return found


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("mtime", [0, 1.5])
def test_members_are_those_of_tarfile(format_name: str, mtime: float):
    names = NAMES if format_name == "ustar" else NAMES + LONG
    data = archive(format_name, names, mtime)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(one.name, one.isreg(), one.offset_data, one.size) for one in tar]
    found = [(one.name, one.kind == "file", one.data, one.size) for one in members_of(data)]
    assert found == expected
    file = io.BytesIO(data)
    for member in members_of(data):
        if member.kind == "file":
            assert len(set(read_content(file, member))) <= 1


def test_old_archives_without_a_magic_are_read():
    block = bytearray(archive("ustar", ("a.jpg", "b.jpg"))[BLOCK : 2 * BLOCK])
    block[257:265] = bytes(8)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (member,) = members_of(bytes(block))
    assert (member.name, member.kind, member.size) == ("a.jpg", "file", 0)


def test_an_archive_without_its_end_is_whole():
    data = archive("gnu", ("a.jpg", "b.jpg")).rstrip(b"\0")
    data += bytes(-len(data) % BLOCK)
    assert [member.name for member in members_of(data)] == ["folder", "a.jpg", "b.jpg", "link"]
    assert members_of(b"") == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: BLOCK + 100], "byte 512: expected the header of a member, got other"),
        (lambda data: data[:BLOCK] + b"x" * 5000, "byte 512: expected the header of a member, got"),
        (lambda data: data + data, "got more (archives that were joined have to be copied into"),
        (lambda data: data[:600] + b"?" + data[601:], "byte 512: expected the header of a member,"),
    ],
    ids=["cut in a header", "other bytes", "joined", "a wrong checksum"],
)
def test_damage_is_never_taken_for_the_end(damage, message: str):
    with pytest.raises(DamagedTarError) as error:
        members_of(damage(archive("pax", ("a.jpg", "b.jpg"), 1.5)))
    assert message in str(error.value) and isinstance(error.value, DataError)


@pytest.mark.parametrize("size", [str(10**30), str(2**63 - 1), str(2**62)])
def test_a_size_that_no_file_has_is_damage(size: str):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.jpg")
        info.pax_headers = {"size": size}
        tar.addfile(info)
    with pytest.raises(DamagedTarError):
        for member in members_of(target.getvalue()):
            read_content(target, member)


def test_a_content_that_is_cut_is_damage():
    data = archive("gnu", ("a.jpg", "b.jpg", "c.jpg"))
    (*_, member, _) = members_of(data)
    with pytest.raises(DamagedTarError, match=r"expected 600 bytes of 'c\.jpg', got 88, the end"):
        read_content(io.BytesIO(data[: member.data + 88]), member)


@pytest.mark.parametrize("format_name", FORMATS)
def test_flipped_and_lost_bytes_give_members_or_an_error(format_name: str):
    whole = archive(format_name, NAMES, 1.5)
    draw = random.Random(0)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        cut = bytes(data[: draw.randrange(len(data))] if draw.random() < 0.3 else data)
        try:
            members = members_of(cut)
        except DamagedTarError as error:
            assert "\n" not in str(error)
        else:
            assert all(member.size >= 0 for member in members)


def test_sparse_files_are_refused(tmp_path: Path):
    import subprocess

    with open(tmp_path / "holes.jpg", "wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"x")
    command = ["tar", "-S", "-cf", tmp_path / "x.tar", "-C", tmp_path, "holes.jpg"]
    subprocess.run(command, check=True)
    with pytest.raises(DamagedTarError, match=r"expected plain files, got a sparse one, 'h"):
        members_of((tmp_path / "x.tar").read_bytes())
