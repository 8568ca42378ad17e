"""Importing the authors' checkpoints: every form they come in, and every file that only pretends to be one."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import pickle
import random
import stat
import sys
import tarfile
import zipfile

import pytest
import torch
from conftest import seeded

from carcli.errors import WeightsError
from carcli.models.registry import build
from carcli.weights import archives, checkpoint, choose, loading, manifest, state_dicts, store
from carcli.weights.description import describe
from carcli.weights.importer import import_files


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CARCLI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def small(monkeypatch):
    """The official entries with the authors' architecture, made narrow: the importer looks at names and shapes alone."""
    narrow = {"down": {"features": 8, "blocks": 1}, "up": {"features": 8, "blocks": 1}}
    checkpoints = tuple(entry.model_copy(update=narrow) for entry in manifest.entries() if entry.archive)
    known = manifest.manifest().model_copy(update={"checkpoints": checkpoints})
    monkeypatch.setattr(manifest, "manifest", lambda: known)


def networks(scale):
    down, up = build("edsr", scale, {"down": {"features": 8, "blocks": 1}, "up": {"features": 8, "blocks": 1}})
    return seeded(down.net), seeded(up)


def pth(net, legacy=True) -> bytes:
    out = io.BytesIO()
    torch.save({f"module.{k}": v for k, v in net.state_dict().items()}, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def files_of(folder, scale, legacy=True):
    down, up = networks(scale)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kgn.pth").write_bytes(pth(down, legacy))
    (folder / "usn.pth").write_bytes(pth(up, legacy))
    return folder / "kgn.pth", folder / "usn.pth"


def nothing_stored(home):
    return not list(home.rglob("*.safetensors")) and not list(home.rglob("*.tmp"))


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("scale", [2, 4])
def test_two_files_become_a_checkpoint_with_the_same_weights(small, tmp_path, scale, legacy):
    ((entry, path),) = import_files(files_of(tmp_path, scale, legacy))
    assert entry.id == f"edsr-official-x{scale}"
    assert store.state(entry) == "imported"
    pair = loading.load(choose.choose(entry.id, None))
    for ours, theirs in zip((pair.down.net, pair.up), networks(scale), strict=True):
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    assert describe(path).id == entry.id


def test_a_folder_of_both_scales_as_the_authors_lay_it_out(small, tmp_path):
    for scale in (2, 4):
        files_of(tmp_path / "models" / f"{scale}x", scale)
    assert [entry.scale for entry, _ in import_files([tmp_path / "models"])] == [2, 4]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_is_read_member_by_member(small, tmp_path, kind):
    files_of(tmp_path / "in" / "models" / "4x", 4)
    (tmp_path / "in" / "README.txt").write_text("hello")
    archive = tmp_path / f"models.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path in (tmp_path / "in").rglob("*.*"):
                out.write(path, f"../../{path.name}")  # a path that leads outside is never followed
    else:
        with tarfile.open(archive, f"w:{kind.removeprefix('tar').removeprefix('.')}") as out:
            out.add(tmp_path / "in", "../outside")
    assert [entry.id for entry, _ in import_files([archive])] == ["edsr-official-x4"]
    assert not (tmp_path.parent / "kgn.pth").exists()


def test_a_full_disk_is_one_line(small, tmp_path, home, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_whole", full)
    with pytest.raises(WeightsError, match="safetensors: No space left on device; let CARCLI_HOME name another folder"):
        import_files(files_of(tmp_path, 4))
    assert nothing_stored(home)


def test_a_half_without_its_other_is_refused_by_name(small, tmp_path, home):
    kgn, usn = files_of(tmp_path, 4)
    with pytest.raises(WeightsError, match=r"EDSR \(usn.pth\) at x4 is missing"):
        import_files([kgn])
    with pytest.raises(WeightsError, match="resampler network"):
        import_files([usn])
    other, _ = files_of(tmp_path / "two", 2)
    with pytest.raises(WeightsError, match="is missing"):
        import_files([other, usn])
    assert nothing_stored(home)


def test_the_same_network_twice_is_refused(small, tmp_path):
    kgn, usn = files_of(tmp_path, 4)
    with pytest.raises(WeightsError, match="the same network"):
        import_files([kgn, kgn, usn])


def test_another_width_is_refused_with_the_tensor_named(tmp_path, home):
    with pytest.raises(WeightsError, match=r"has shape|is missing"):  # narrow networks, but the real architecture is expected
        import_files(files_of(tmp_path, 4))
    assert nothing_stored(home)


class Hostile:
    def __reduce__(self):
        return (open, ("owned", "w"))


def hostile() -> bytes:
    return pickle.dumps({"kernels_weight.4.weight": Hostile()}, 2)


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"")
        with archive.open("x/data/0", "w", force_zip64=True) as member:
            for _ in range(4):
                member.write(bytes(8 << 20))
    return out.getvalue()


def enormous() -> bytes:
    """A state dict whose tensor claims 4 TB over a storage of four bytes."""
    out = io.BytesIO()
    tensor = torch.zeros(1).as_strided((1 << 20, 1 << 20), (0, 0))
    torch.save({"kernels_weight.4.weight": tensor}, out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (hostile(), "refused"),
        (b"", "refused|damaged"),
        (b"junk" * 100, "refused"),
        (pth(torch.nn.Linear(2, 2)), "neither the resampler network nor EDSR"),
        (pth(torch.nn.Linear(2, 2))[:-40], "refused|neither"),
        (enormous(), "neither|has shape"),
        (pickle.dumps([1, 2], 2), "refused|not a state dict"),
    ],
    ids=["hostile", "empty", "junk", "other", "truncated", "enormous", "list"],
)
def test_a_file_that_only_pretends_is_refused_in_one_line(tmp_path, home, data, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "kgn.pth"
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=message) as caught:
        import_files([file])
    assert "kgn.pth" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()
    assert nothing_stored(home)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, home, monkeypatch):
    monkeypatch.setattr(state_dicts, "MAX_BYTES", 16 << 20)
    (tmp_path / "kgn.pth").write_bytes(bomb())
    with pytest.raises(WeightsError, match="more than any checkpoint"):
        import_files([tmp_path / "kgn.pth"])


def test_an_archive_that_bombs_lies_or_is_damaged_is_refused(tmp_path, monkeypatch, home):
    big = tmp_path / "big.zip"
    with zipfile.ZipFile(big, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kgn.pth", bytes(3 << 20))
    monkeypatch.setattr(state_dicts, "MEMBER", 1 << 20)
    with pytest.raises(WeightsError, match="more than any checkpoint"):
        import_files([big])
    monkeypatch.setattr(state_dicts, "MEMBER", 512 << 20)
    data = bytearray(big.read_bytes())
    data[60] ^= 255
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(WeightsError, match=r"bad\.zip"):
        import_files([tmp_path / "bad.zip"])
    (tmp_path / "bad.tar").write_bytes(b"\0" * 10240)
    with pytest.raises(WeightsError, match=r"bad\.tar"):
        import_files([tmp_path / "bad.tar"])
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(WeightsError, match=r"without kgn\.pth and usn\.pth"):
        import_files([tmp_path / "none.zip"])
    assert nothing_stored(home)


def test_a_member_longer_than_its_archive_says_is_cut_there_and_refused(tmp_path, home):
    kgn, _ = files_of(tmp_path / "in", 4)
    with zipfile.ZipFile(tmp_path / "lie.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(kgn, "kgn.pth")
        size = archive.getinfo("kgn.pth").file_size
        archive.getinfo("kgn.pth").file_size = size // 2  # goes into the directory at the archive's end
    with pytest.raises(WeightsError, match=r"lie\.zip: a damaged or unreadable archive"):
        import_files([tmp_path / "lie.zip"])
    assert nothing_stored(home)


def test_a_damaged_stream_in_an_archive_is_refused_in_one_line(tmp_path, home):
    with zipfile.ZipFile(tmp_path / "good.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kgn.pth", bytes(range(256)) * 100)
    data = bytearray((tmp_path / "good.zip").read_bytes())
    data[37:45] = b"\xff" * 8  # the first bytes of the compressed stream
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(WeightsError, match=r"bad\.zip: a damaged or unreadable archive"):
        import_files([tmp_path / "bad.zip"])
    assert nothing_stored(home)


def in_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_single_files_that_are_compressed_are_read(small, tmp_path):
    kgn, usn = files_of(tmp_path, 4)
    files = []
    for file, module, suffix in ((kgn, gzip, "gz"), (usn, lzma, "xz")):
        files.append(file.with_name(f"{file.name}.{suffix}"))
        files[-1].write_bytes(module.compress(file.read_bytes()))
    assert [entry.id for entry, _ in import_files(files)] == ["edsr-official-x4"]


def patched(path, at: bytes, offset: int, value: bytes):
    """A zip archive with other bytes behind every signature ``at``."""
    data, place = bytearray(path.read_bytes()), 0
    while (place := data.find(at, place)) >= 0:
        data[place + offset : place + offset + len(value)] = value
        place += 4
    path.write_bytes(data)
    return path


def encrypted(folder):
    path = in_zip(folder / "a.zip", {"kgn.pth": b"x"})
    return patched(patched(path, b"PK\1\2", 8, b"\1\0"), b"PK\3\4", 6, b"\1\0")


def deflate64(folder):
    path = in_zip(folder / "a.zip", {"kgn.pth": b"x"})
    return patched(patched(path, b"PK\1\2", 10, b"\x09\0"), b"PK\3\4", 8, b"\x09\0")


def nested(folder):
    return in_zip(folder / "a.zip", {"models/x4.tar.gz": b"x", "readme.txt": b""})


def nested_tar(folder):
    (folder / "x4.zip").write_bytes(b"x")
    with tarfile.open(folder / "a.tar", "w") as out:
        out.add(folder / "x4.zip", "x4.zip")
    return folder / "a.tar"


def beginning_with(magic):
    def write(folder):
        (folder / "a.bin").write_bytes(magic + bytes(99))
        return folder / "a.bin"

    return write


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (encrypted, "is encrypted"),
        (deflate64, "packed in a way that Python does not know"),
        (nested, r"another archive, models/x4\.tar\.gz"),
        (nested_tar, r"another archive, x4\.zip"),
        (beginning_with(b"7z\xbc\xaf\x27\x1c"), "no 7z archives"),
        (beginning_with(b"Rar!\x1a\x07\x01\x00"), "no RAR archives"),
    ],
)
def test_an_archive_that_is_not_taken_says_what_to_do(tmp_path, home, make, why):
    with pytest.raises(WeightsError, match=rf"/a\..*{why}.*; unpack it yourself and name the folder") as caught:
        import_files([make(tmp_path)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a\nb.pth", "\x1b[2J.pth", "\u202e.pth", "n" * 5000 + ".pth", "a\nb.zip", "n" * 5000 + ".zip"])
def test_what_a_member_is_called_is_told_in_one_short_line(tmp_path, home, name):
    with pytest.raises(WeightsError) as caught:
        import_files([in_zip(tmp_path / "a.zip", {name: b"x"})])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(tmp_path)) + 300


def test_a_member_without_a_name_is_no_more_than_a_damaged_archive(tmp_path, home):
    path = patched(in_zip(tmp_path / "a.zip", {"x": b"x"}), b"PK\1\2", 28, b"\0\0\1\0")  # lengths of name and extra field
    with pytest.raises(WeightsError, match=r"a\.zip: a"):
        import_files([path])


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python reads them")
def test_zstandard_needs_a_later_python(tmp_path):
    with pytest.raises(WeightsError, match=r"from 3\.14 on; unpack it yourself and name the folder"):
        import_files([beginning_with(b"\x28\xb5\x2f\xfd")(tmp_path)])


def test_links_and_devices_in_an_archive_are_passed_over(small, tmp_path):
    kgn, usn = files_of(tmp_path, 4)
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        kinds = {"a": tarfile.SYMTYPE, "b": tarfile.LNKTYPE, "c": tarfile.CHRTYPE, "d": tarfile.FIFOTYPE}
        for name, kind in kinds.items():
            member = tarfile.TarInfo(f"{name}.pth")
            member.type, member.linkname = kind, "/etc/passwd"
            out.addfile(member)
        out.add(kgn, "kgn.pth")
        out.add(usn, "usn.pth")
    link = zipfile.ZipInfo("a.pth")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.write(kgn, "kgn.pth")
        archive.write(usn, "usn.pth")
    for name in ("a.tar", "a.zip"):
        assert [entry.id for entry, _ in import_files([tmp_path / name])] == ["edsr-official-x4"]


def test_what_an_archive_unpacks_to_is_bounded_as_it_streams(tmp_path, home, monkeypatch):
    """Whatever its headers say, and in what nobody asked for too."""
    monkeypatch.setattr(archives, "MOST", 8 << 20)
    monkeypatch.setattr(state_dicts, "MEMBER", 2 << 20)
    (tmp_path / "kgn.pth.gz").write_bytes(gzip.compress(b"x" * (4 << 20)))
    with pytest.raises(WeightsError, match=r"kgn\.pth\.gz: unpacks to more than"):
        import_files([tmp_path / "kgn.pth.gz"])
    (tmp_path / "big").write_bytes(bytes(12 << 20))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as out:
        out.add(tmp_path / "big", "big.txt")
        out.add(tmp_path / "big", "kgn.pth")
    with pytest.raises(WeightsError, match=r"a\.tar\.gz: unpacks to more than any checkpoint"):
        import_files([tmp_path / "a.tar.gz"])
    name = tarfile.TarInfo("x")
    name.type, name.size = tarfile.XHDTYPE, 1 << 32  # a header that would be read at once
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(name.tobuf() + bytes(4096)))
    with pytest.raises(WeightsError, match=r"b\.tar\.gz: unpacks to more than any checkpoint"):
        import_files([tmp_path / "b.tar.gz"])
    assert nothing_stored(home)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "pth.gz"])
@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_archive_is_refused_in_one_line(small, tmp_path, home, kind, seed):
    files_of(tmp_path / "in", 4)
    whole = tmp_path / f"a.{kind}"
    if kind == "zip":
        in_zip(whole, {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()})
    elif kind == "pth.gz":
        whole.write_bytes(gzip.compress((tmp_path / "in" / "kgn.pth").read_bytes()))
    else:
        with tarfile.open(whole, f"w:{kind.removeprefix('tar').removeprefix('.')}") as out:
            out.add(tmp_path / "in", "in")
    rng = random.Random(seed)
    data = bytearray(whole.read_bytes())
    if seed % 2:
        del data[rng.randrange(1, len(data)) :]
    else:
        data[rng.randrange(0, 64) :][:4] = b"\xff" * 4
        for _ in range(20):
            data[rng.randrange(len(data))] ^= 0xFF
    whole.write_bytes(data)
    with contextlib.suppress(WeightsError):
        import_files([whole])


def test_an_archive_of_too_many_state_dicts_is_something_else(small, tmp_path, home, monkeypatch):
    monkeypatch.setattr(state_dicts, "MEMBERS", 1)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for file in files_of(tmp_path / "in", 4):
            archive.write(file, file.name)
    with pytest.raises(WeightsError, match="holds more than 1 state dicts"):
        import_files([tmp_path / "many.zip"])
    assert nothing_stored(home)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": torch.nn.Linear(2, 2)}, "holds objects other than tensors, which could run code"),
        ({"a": 1}, "not a state dict"),
        ({1: torch.zeros(1)}, "not a state dict"),
        ({"a": torch.eye(2).to_sparse()}, "not a state dict"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_not_a_state_dict_is_said_without_advice_to_load_it_all_the_same(tmp_path, value, message, zipped):
    torch.save(value, tmp_path / "kgn.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=rf"kgn\.pth: .*{message}") as caught:
        import_files([tmp_path / "kgn.pth"])
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_cut_file_of_pytorch_is_damaged(tmp_path, legacy):
    data = pth(networks(4)[0], legacy)
    (tmp_path / "kgn.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=r"kgn\.pth: refused, for it is (damaged|no file of PyTorch's)"):
        import_files([tmp_path / "kgn.pth"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "kgn.pth")
    (tmp_path / "usn.pth").symlink_to("/dev/zero")
    for name in ("kgn.pth", "usn.pth"):
        with pytest.raises(WeightsError, match=rf"{name}: is no ordinary file"):
            import_files([tmp_path / name])
    with pytest.raises(WeightsError, match=r"holds no \.pth files"):
        import_files([tmp_path])


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "file/kgn.pth"])
def test_a_path_that_cannot_be_is_one_line(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsError) as caught:
        import_files([tmp_path / name])
    assert "\n" not in str(caught.value)


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        import_files([tmp_path / "gone.pth"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"holds no \.pth files"):
        import_files([tmp_path / "empty"])
