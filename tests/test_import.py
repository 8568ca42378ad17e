"""Importing the authors' checkpoints: every form they come in, and every file that only pretends to be one."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile

import pytest
import torch
from conftest import seeded

from carcli.errors import WeightsError
from carcli.models.registry import build
from carcli.weights import checkpoint, choose, manifest, state_dicts, store
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
    pair = choose.load(choose.choose(entry.id, None))
    for ours, theirs in zip((pair.down.net, pair.up), networks(scale), strict=True):
        for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    assert checkpoint.describe(path).id == entry.id


def test_a_folder_of_both_scales_as_the_authors_lay_it_out(small, tmp_path):
    for scale in (2, 4):
        files_of(tmp_path / "models" / f"{scale}x", scale)
    assert [entry.scale for entry, _ in import_files([tmp_path / "models"])] == [2, 4]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_read_member_by_member(small, tmp_path, kind):
    files_of(tmp_path / "in" / "models" / "4x", 4)
    (tmp_path / "in" / "README.txt").write_text("hello")
    archive = tmp_path / f"models.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path in (tmp_path / "in").rglob("*.*"):
                out.write(path, f"../../{path.name}")  # a path that leads outside is never followed
    else:
        with tarfile.open(archive, "w:gz") as out:
            out.add(tmp_path / "in", "../outside")
    assert [entry.id for entry, _ in import_files([archive])] == ["edsr-official-x4"]
    assert not (tmp_path.parent / "kgn.pth").exists()


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


def test_an_archive_of_too_many_state_dicts_is_something_else(small, tmp_path, home, monkeypatch):
    monkeypatch.setattr(state_dicts, "MEMBERS", 1)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for file in files_of(tmp_path / "in", 4):
            archive.write(file, file.name)
    with pytest.raises(WeightsError, match="holds more than 1 state dicts"):
        import_files([tmp_path / "many.zip"])
    assert nothing_stored(home)


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        import_files([tmp_path / "gone.pth"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"holds no \.pth files"):
        import_files([tmp_path / "empty"])
