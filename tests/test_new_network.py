"""Adding an upscaler or a downscaler touches its own file, one recipe and weights.toml.

Here is one of each, and nothing else.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import noise, write_photos

import carcli.models
from carcli.errors import UsageError, WeightsError
from carcli.images.picture import Picture
from carcli.models import registry
from carcli.models.cascade import cascade
from carcli.models.registry import build, downscaler, upscaler
from carcli.rescale import tiling
from carcli.rescale.refine import refine
from carcli.rescale.refinement import Refinement
from carcli.rescale.rescaler import Rescaler, load
from carcli.training import recipe, start
from carcli.training.loop import Run, train
from carcli.training.objective import Objective
from carcli.weights import manifest, store

CPU = torch.device("cpu")

NETWORK_FILE = '''
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from carcli.models.base import Network
from carcli.models.registry import downscaler, upscaler


@dataclass(frozen=True)
class CellConfig:
    scale: int
    sparse: float = 0.0  # weight of the size of what is added to the mean


@downscaler("cell", family="cell", config=CellConfig, up="attention")
class CellMean(Network):
    """The mean of a cell and a learned residual."""

    def __init__(self, config):
        super().__init__(config.scale)
        self.sparse = config.sparse
        self.multiple_of = self.halo = config.scale
        self.unshuffle = nn.PixelUnshuffle(config.scale)
        self.residual = nn.Conv2d(3 * config.scale**2, 3, 3, padding=1)

    def forward(self, hr):
        return F.avg_pool2d(hr, self.scale) + 0.1 * self.residual(self.unshuffle(hr))

    def penalised(self, hr, weights):
        lr = self(hr)
        return lr, self.sparse * (lr - F.avg_pool2d(hr, self.scale)).abs().mean()


@dataclass(frozen=True)
class AttentionConfig:
    scale: int
    features: int = 8


@upscaler("attention", config=AttentionConfig)
class Attention(Network):
    """Channels weighed by their mean over the image, which no tile knows; and sizes that are even."""

    multiple_of = 2

    def __init__(self, config):
        super().__init__(config.scale)
        self.head = nn.Conv2d(3, config.features, 3, padding=1)
        self.tail = nn.Conv2d(config.features, 3 * config.scale**2, 3, padding=1)

    def forward(self, lr):
        x = self.head(F.pixel_shuffle(F.pixel_unshuffle(lr, 2), 2))
        x = x * torch.sigmoid(x.mean((2, 3), keepdim=True))
        return F.interpolate(lr, scale_factor=self.scale) + F.pixel_shuffle(self.tail(x), self.scale)
'''

RECIPE = """
# A mean and attention, to show how it is done.
[model]
family = "cell"
scale = 2
down = { sparse = 0.5 }
up = { features = 6 }
[data]
patch = 8
batch = 4
"""

WEIGHTS = """
version = 1
[[checkpoint]]
id = "cell-x2"
family = "cell"
scale = 2
file = "cell-x2.safetensors"
licence = "MIT"
parameters = 1000
sha256 = "{digest}"
bytes = {size}
down = {{ sparse = 0.5 }}
up = {{ features = 6 }}
"""


@pytest.fixture(scope="module", autouse=True)
def networks_file(tmp_path_factory):
    """The file, among those of the package."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "attention_cell.py").write_text(NETWORK_FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carcli.models, "__path__", [*carcli.models.__path__, str(folder)])
        yield
    for table, name in ((registry.DOWNSCALERS, "cell"), (registry.DEFAULTS, "cell"), (registry.UPSCALERS, "attention")):
        del table[name]
    sys.modules.pop("carcli.models.attention_cell")
    del carcli.models.attention_cell


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The recipe, trained for four steps."""
    folder = tmp_path_factory.mktemp("cell")
    (folder / "cell-x2.toml").write_text(RECIPE)
    photographs = write_photos(folder / "photos", 12, 40, 48)
    return train(recipe.load(str(folder / "cell-x2.toml")), [photographs], Run(folder / "run", 1, steps=4))


@pytest.fixture
def pair(trained, tmp_path, monkeypatch) -> Rescaler:
    """The family, by its entry in weights.toml."""
    text = WEIGHTS.format(digest=hashlib.sha256(trained.read_bytes()).hexdigest(), size=trained.stat().st_size)
    known = manifest.parse(text, "weights.toml")
    monkeypatch.setattr(manifest, "manifest", lambda: known)
    monkeypatch.setenv("CARCLI_HOME", str(tmp_path / "home"))
    target = store.checkpoint_path(known.checkpoints[0])
    target.parent.mkdir(parents=True)
    shutil.copy(trained, target)
    return load("cell", 2, "cpu")


def test_it_builds_as_any_other_pair():
    down, up = build("cell", 4, {"up": {"features": 3}})
    assert up(down(torch.rand(1, 3, 16, 24))).shape == (1, 3, 16, 24)
    assert type(build("edsr", 2, {"down": {"net": "bicubic"}, "up": {"net": "attention"}}).up) is type(up)
    with pytest.raises(WeightsError, match="unknown architecture argument 'feature'"):
        build("cell", 4, {"up": {"feature": 3}})


def test_what_training_keeps_it_from_is_its_own_affair():
    made = recipe.parse(RECIPE, "cell")
    torch.manual_seed(0)
    objective = Objective(build("cell", 2, {"down": made.model.down}), made)
    hr = torch.rand(2, 3, 16, 16)
    total = float(objective(hr).loss.detach())
    penalty = float(objective.down.penalised(hr, {})[1].detach())
    objective.down.sparse = 0.0
    assert penalty > 0
    assert total - float(objective(hr).loss.detach()) == pytest.approx(penalty, rel=1e-4)


def test_its_trained_checkpoint_is_a_file_ready_for_use(trained, photo):
    pair = load(str(trained), None, "cpu")
    assert pair.up(pair.down(photo), size=(221, 161)).shape == photo.shape


def test_its_images_name_it_and_come_back(pair, photo):
    small = pair.down(Picture(photo))
    assert (small.tag.checkpoint, small.size) == ("cell-x2", (111, 81))
    again = load(small.tag.checkpoint, small.tag.scale, "cpu")
    assert again.up(small).pixels.shape == photo.shape


def test_it_becomes_larger_scales_too():
    down, up = cascade([build("cell", 2, {})] * 2)
    assert (down.scale, down.halo, up.halo) == (4, 6 + 2, None)
    lr = tiling.run(down, noise(41, 30), down=True, device=CPU, tile=8)
    assert tiling.run(up, lr, down=False, device=CPU).shape == (44, 32, 3)


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (40, 41)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_that_must_see_the_whole_image_gets_it_in_one_tile(size, channels):
    up = build("cell", 2, {}).up
    lr = noise(*size)[..., :channels]
    seen = []
    up.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    sr = tiling.run(up, lr, down=False, device=CPU, tile=8)
    height, width = (n + n % 2 for n in size)
    assert seen == [(1, 3, height, width)]
    assert sr.shape == (2 * size[0], 2 * size[1], channels)


def test_memory_that_does_not_hold_the_whole_image_is_said_at_once(monkeypatch):
    up = build("cell", 2, {}).up
    tried = []

    def forward(x):
        tried.append(x.shape)
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(up, "forward", forward)
    with pytest.raises(torch.OutOfMemoryError):
        tiling.run(up, noise(40, 40), down=False, device=CPU)
    assert len(tried) == 1


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of 16 LR pixels, and so several for the image below, where every network has a halo."""
    monkeypatch.setattr("carcli.rescale.refine.CORE", 16)
    monkeypatch.setattr("carcli.rescale.refine.UNDIVIDED", 16)


def shapes_refined(pair: Rescaler, method: str) -> set[tuple[int, int]]:
    """The sizes of LR images that the upscaler sees while one of 36 x 40 is refined."""
    image = noise(72, 80)
    lr = pair.down(image)
    seen = set()
    pair.networks.up.register_forward_pre_hook(lambda _, given: seen.add(tuple(given[0].shape[2:])))
    refined = refine(pair, image, lr, Refinement(2, method))
    assert refined.after <= refined.before
    return seen


@pytest.mark.parametrize("method", ["fast", "hcd"])
def test_it_is_refined_in_one_window(pair, small_windows, method):
    assert shapes_refined(pair, method) == {(36, 40)}


def test_a_downscaler_that_must_see_the_whole_image_is_refined_through_in_one_window(pair, small_windows):
    """The published method goes through the downscaler; ours does not."""
    pair.networks.down.halo, pair.networks.up.halo = None, 2
    assert shapes_refined(pair, "hcd") == {(36, 40)}
    assert len(shapes_refined(pair, "fast")) > 1


def test_networks_without_gradients_are_neither_refined_nor_trained_through(pair, photo):
    image = photo[:32, :32]
    pair.networks.up.differentiable = False
    with pytest.raises(UsageError, match="cell-x2 has no gradients"):
        refine(pair, image, pair.down(image), Refinement(2))
    through = recipe.parse(RECIPE.replace("{ features = 6 }", '{ net = "lanczos" }'), "through")
    with pytest.raises(UsageError, match="upscaler without gradients"):
        start.networks(through, None)


def test_a_name_stands_for_one_network():
    with pytest.raises(ValueError, match="two downscalers 'base'"):
        downscaler("base", family="tad")(lambda scale: None)
    with pytest.raises(ValueError, match="two upscalers are called 'edsr'"):
        upscaler("edsr")(lambda scale: None)


def test_halves_that_do_not_fit_together_are_no_pair():
    with pytest.raises(WeightsError, match="1 channels where it is made, and 3 where it is restored"):
        build("tad", 1, {"down": {"net": "grey"}, "up": {"net": "edsr", "tail": "direct"}})
