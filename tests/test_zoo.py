"""Networks of other makers: told from files that execute nothing, run in tiles, and only ever to enlarge."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import noise, seeded
from safetensors.torch import save_file
from test_cli import carcli
from torch import Tensor, nn

from carcli.errors import ImageError, UsageError, WeightsError
from carcli.images.picture import Picture
from carcli.images.tag import Tag
from carcli.models import foreign
from carcli.models.foreign import SEAM, Foreign
from carcli.rescale import tiling
from carcli.rescale.rescaler import load
from carcli.rescale.resolve import Request, resolve
from carcli.weights import zoo
from carcli.weights.choose import choose

CPU = torch.device("cpu")


class Enlarger(nn.Module):
    """A small super-resolver of convolutions, or one that looks at the whole image too."""

    def __init__(self, channels: int = 3, everywhere: bool = False, scale: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, channels * scale**2, 3, padding=1)
        )
        self.grow, self.everywhere = nn.PixelShuffle(scale), everywhere

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.grow(self.body(x))
        return (y + x.mean() if self.everywhere else y).clamp(0, 1)


def wrapped(**options) -> Foreign:
    module = seeded(Enlarger(**options))
    network = Foreign(module, module, 2, channels=options.get("channels", 3))
    network.halo = network.measure_halo()
    return network


def by_spandrel(monkeypatch, **changes) -> None:
    """Stands in for spandrel, which need not be there: every state dict is an Enlarger's."""

    class Loader:
        def __init__(self, device, registry):
            self.registry = registry

        def load_from_state_dict(self, tensors):
            module = Enlarger()
            module.load_state_dict(tensors)
            size = SimpleNamespace(multiple_of=1, minimum=0, square=False)
            facts = {
                "model": module, "architecture": SimpleNamespace(name="Enlarger"), "purpose": "SR", "scale": 2,
                "input_channels": 3, "output_channels": 3, "supports_half": False, "supports_bfloat16": True,
                "size_requirements": size, "tiling": SimpleNamespace(name="SUPPORTED"), **changes,
            }  # fmt: skip
            return type("Descriptor", (), {**facts, "__call__": lambda self, x: module(x)})()

    class Registry(list):
        def add(self, *architectures):
            self.extend(architectures)

    stand_in = SimpleNamespace(
        ModelLoader=Loader, ArchRegistry=Registry, UnsupportedModelError=KeyError, __version__="0",
        MAIN_REGISTRY=SimpleNamespace(architectures=lambda order: []),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "spandrel", stand_in)


@pytest.fixture
def weights(tmp_path) -> dict[str, Path]:
    """The same weights in every form: bare, as a training run saves them, and as safetensors."""
    tensors = seeded(Enlarger()).state_dict()
    forms = {
        "bare.pth": tensors,
        "run.ckpt": {"epoch": 3, "state_dict": tensors},
        "ema.pt": {"params": {}, "params_ema": tensors},
    }
    for name, content in forms.items():
        torch.save(content, tmp_path / name)
    save_file(tensors, tmp_path / "Safe One.safetensors")
    return {path.suffix: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
def test_weights_in_any_form_enlarge(monkeypatch, weights, suffix):
    by_spandrel(monkeypatch)
    lr = noise(17, 22)
    expected = seeded(Enlarger())(torch.from_numpy(lr).permute(2, 0, 1)[None] / 255)
    pair = load(str(weights[suffix]), None, "cpu")
    assert np.array_equal(pair.up(lr), (expected[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    assert pair.id == weights[suffix].name.lower().replace(" ", "-")
    assert pair.up(noise(9, 11, 1)).shape == (18, 22, 1)
    assert choose(str(weights[suffix]), 4).scale == 4  # again and again


def test_it_restores_what_has_no_tag_and_refuses_what_has_one(monkeypatch, weights):
    by_spandrel(monkeypatch)
    model, tag = str(weights[".safetensors"]), Tag("tad-x2", "", 2, 24, 16)
    assert resolve(None, Request(model)).hides is False
    assert resolve(tag, Request(model, ignore_tag=True)).scale == 2
    with pytest.raises(ImageError, match=r"was made with tad-x2, not .*; leave --model out, or pass --ignore-tag"):
        resolve(tag, Request(model))


def test_it_shrinks_nothing(monkeypatch, weights, tmp_path):
    by_spandrel(monkeypatch)
    with pytest.raises(UsageError, match="only enlarges images; shrink them with another model"):
        load(str(weights[".pth"]), None, "cpu").down(noise(8, 8))
    code, _, err = carcli("down", str(weights[".pth"].parent), "--model", str(weights[".pth"]), "-o", tmp_path / "lr")
    assert code != 0
    assert len(err.splitlines()) == 1


def test_precisions_that_it_does_not_compute_in_are_refused(monkeypatch, weights):
    by_spandrel(monkeypatch)
    assert load(str(weights[".pth"]), None, "cpu", "bf16").precision == "bf16"
    with pytest.raises(UsageError, match=r"bare\.pth does not compute in fp16; use fp32 or bf16"):
        load(str(weights[".pth"]), None, "cpu", "fp16")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"purpose": "Inpainting"}, "fills holes"),
        ({"purpose": "FaceSR"}, "restores faces"),
        ({"input_channels": 4}, "makes 3 channels of 4"),
        ({"scale": 256}, "is for scale 256"),
    ],
)
def test_what_does_something_else_is_refused(monkeypatch, weights, changes, message):
    by_spandrel(monkeypatch, **changes)
    with pytest.raises(WeightsError, match=message):
        choose(str(weights[".pth"]), None)


class Bomb:
    def __reduce__(self):
        return (Path("/nowhere/touched").touch, ())


def test_nothing_in_a_file_is_executed_and_nothing_larger_than_it_is_built(monkeypatch, tmp_path):
    by_spandrel(monkeypatch)
    torch.save({"a": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"a": Bomb()}))
    torch.save({"a": torch.zeros(1).expand(1 << 20, 1 << 20)}, tmp_path / "views.pth")
    torch.save({"a": torch.zeros(1 << 40, 0)}, tmp_path / "empty.pth")
    torch.save({"a": torch.tensor([torch.nan])}, tmp_path / "broken.pth")
    torch.save({"a": "text"}, tmp_path / "text.pth")
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    for name, message in {
        "bomb.pth": "could run code", "pickle.pth": "no file of PyTorch", "views.pth": "larger than the file",
        "empty.pth": "is empty", "broken.pth": "not finite", "text.pth": "not a state dict", "other.pth": "do not fit together",
        "cut.safetensors": "damaged", "gone.pth": "no such checkpoint file",
    }.items():  # fmt: skip
        with pytest.raises(WeightsError, match=message) as caught:
            choose(str(tmp_path / name), None)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_without_spandrel_it_is_said_how_to_get_it(monkeypatch, weights, suffix):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    code, _, err = carcli("up", str(weights[".pth"]), "--model", str(weights[suffix]), "--device", "cpu")
    assert code == 3
    assert "pip install 'carcli[zoo]'" in err


def test_a_spandrel_that_cannot_be_loaded_is_no_traceback(monkeypatch, weights, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "spandrel.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    with pytest.raises(WeightsError, match=r"cannot be loaded \(RuntimeError: operator torchvision::nms does not exist\)"):
        choose(str(weights[".pth"]), None)


def test_tiles_come_out_as_the_whole_image_does(photo):
    network = wrapped()
    assert network.halo == foreign.HALOS[0]
    tiled, whole = (tiling.run(network, photo, down=False, device=CPU, tile=tile) for tile in (32, 512))
    assert np.abs(tiled.astype(int) - whole).max() <= 1 + 2 * SEAM


def test_a_network_that_looks_everywhere_is_shown_everything(photo):
    network = wrapped(everywhere=True)
    assert network.halo is None
    tiled, whole = (tiling.run(network, photo, down=False, device=CPU, tile=tile) for tile in (32, 512))
    assert np.array_equal(tiled, whole)


def test_a_grey_network_takes_channels_one_by_one(photo):
    network = wrapped(channels=1)
    colour = tiling.run(network, photo, down=False, device=CPU)
    for channel in range(3):
        grey = tiling.run(network, photo[..., channel : channel + 1].copy(), down=False, device=CPU)
        assert np.array_equal(grey[..., 0], colour[..., channel])


def test_a_file_name_becomes_an_id():
    assert zoo.identity(Path("a/RealESRGAN x4+.pth")) == "realesrgan-x4-.pth"
    assert zoo.identity(Path("ÄÖ.pth")) == "pth"
    assert len(zoo.identity(Path("x" * 100 + ".pth"))) == 64


# With spandrel itself: every network is small, and of random weights.

SMALL = {
    "ESRGAN": {"num_filters": 8, "num_blocks": 1, "scale": 4},
    "Compact": {"num_feat": 8, "num_conv": 2, "upscale": 2},
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2},
    "SwinIR": {
        "img_size": 16, "embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 8, "upscale": 2,
        "upsampler": "pixelshuffledirect",
    },
    "RCAN": {"scale": 2, "n_resgroups": 1, "n_resblocks": 1, "n_feats": 16, "reduction": 4},
    "DnCNN": {"in_nc": 3, "out_nc": 3, "nc": 8, "nb": 17, "act_mode": "R", "mode": "DnCNN"},
}  # fmt: skip


@pytest.fixture(params=sorted(SMALL))
def own(request, tmp_path) -> Path:
    pytest.importorskip("spandrel", reason="spandrel is not installed (pip install 'carcli[zoo]')", exc_type=Exception)
    architectures = pytest.importorskip(f"spandrel.architectures.{request.param}")
    torch.manual_seed(0)
    network = getattr(architectures, request.param)(**SMALL[request.param])
    torch.save(network.state_dict(), tmp_path / f"{request.param}.pth")
    return tmp_path / f"{request.param}.pth"


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_spandrels_networks_run_in_tiles_of_ours(own, photo):
    pair = load(str(own), None, "cpu")
    lr = photo[:100, :140]
    tiled, whole = pair.up(lr, tile=32), pair.up(lr, tile=512)
    assert whole.shape == (100 * pair.scale, 140 * pair.scale, 3)
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    assert np.array_equal(tiled, pair.up(lr, tile=32))
    assert pair.up(lr[:1, :1]).shape == (pair.scale, pair.scale, 3)
    assert pair.up(Picture(lr[..., :1], lr[..., 1:2])).alpha.shape == (100 * pair.scale, 140 * pair.scale, 1)
