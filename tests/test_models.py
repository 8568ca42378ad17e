"""The networks: equal to the authors' at their sizes, and honest about what they need at any."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import seeded

from carcli.errors import WeightsError
from carcli.models.edsr import Edsr, EdsrConfig
from carcli.models.layers import bicubic_down, bicubic_up
from carcli.models.registry import build
from carcli.models.resampler_net import (
    BaseResamplerConfig,
    BaseResamplerNet,
    ContentAdaptiveResampler,
    ResamplerConfig,
    ResamplerNet,
)
from carcli.ops.resample.definition import apply_heads
from carcli.weights import state_dicts
from carcli.weights.checkpoint import fill

# Mean and standard deviation of what the full-size networks make of `recorded_input` with the golden
# vectors' weights; recorded when these networks agreed with the authors' own (test_equals_the_authors).
RECORDED = {
    "2": {
        "kernels": [0.020408, 0.030198, 0.033564, 0.0, 0.041889, 0.047265, 0.0],
        "offsets_h": [0.042421, 0.340474, 0.085428, -0.08856, -0.053907, -0.380317, -0.057436],
        "offsets_v": [0.011842, 0.337377, -0.530135, -0.234336, -0.065345, 0.390754, 0.36633],
        "sr": [0.397553, 0.533262, 0.981971, 0.300656, -0.06763, 0.248183, -0.377566],
        "edsr_parameters": 40729627,
        "resampler_parameters": 10645663,
    },
    "4": {
        "kernels": [0.005917, 0.008415, 0.0, 0.0, 0.0, 0.010567, 0.0],
        "offsets_h": [0.008077, 0.341111, -0.216268, 0.012546, -0.11091, 0.71024, -0.047304],
        "offsets_v": [-0.011232, 0.349779, -0.703539, -0.156287, 0.404636, -0.166643, -0.0574],
        "sr": [0.419796, 0.571998, 0.414469, -0.088126, 0.005081, 0.050489, 0.467292],
        "edsr_parameters": 43089947,
        "resampler_parameters": 9896455,
    },
}


def recorded_input(h: int = 32, w: int = 40) -> torch.Tensor:
    levels = np.random.RandomState(7).randint(0, 256, (1, 3, h, w)).astype(np.float32)
    return torch.from_numpy(levels) / 255


def fill_from_state_dict(net: torch.nn.Module, path: Path) -> None:
    ((source, tensors),) = state_dicts.read(path)
    fill(net, tensors, source)


def shapes(net: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(t.shape) for name, t in net.state_dict().items()}


def summary(tensor: torch.Tensor) -> list[float]:
    flat = tensor.double().flatten()
    return [float(flat.mean()), float(flat.std()), *(float(v) for v in flat[:: max(1, flat.numel() // 5)][:5])]


@pytest.mark.parametrize("scale", [2, 4])
def test_equals_the_authors(reference, scale):
    keys = json.loads((reference / "official_state_dict_keys.json").read_text())
    golden = {k: torch.from_numpy(v) for k, v in np.load(reference / f"official_golden_x{scale}.npz").items()}
    resampler, edsr = ResamplerNet(ResamplerConfig(scale)), Edsr(EdsrConfig(scale))
    assert shapes(resampler) == keys[f"resampler_x{scale}"]
    assert shapes(edsr) == keys[f"edsr_x{scale}"]
    seeded(resampler), seeded(edsr)
    made = apply_heads(*resampler(golden["image"].float() / 255), scale, "clamp")
    for ours, theirs in zip(made, (golden["kernels"], golden["offsets_h"], golden["offsets_v"]), strict=True):
        assert (ours - theirs).abs().max() < 2e-4
    lr = (golden["lr"].clamp(0, 1) * 255).round().float() / 255
    assert (edsr(lr) - golden["sr"]).abs().max() < 1e-3


@pytest.mark.parametrize("scale", [2, 4])
def test_full_size_networks_still_compute_what_they_did(scale):
    resampler, edsr = seeded(ResamplerNet(ResamplerConfig(scale))), seeded(Edsr(EdsrConfig(scale)))
    recorded = RECORDED[str(scale)]
    hr = recorded_input()
    for name, tensor in zip(("kernels", "offsets_h", "offsets_v"), apply_heads(*resampler(hr), scale, "clamp"), strict=True):
        np.testing.assert_allclose(summary(tensor), recorded[name], atol=2e-4)
    np.testing.assert_allclose(summary(edsr(recorded_input(8, 10))), recorded["sr"], atol=1e-3)
    assert sum(p.numel() for p in edsr.parameters()) == recorded["edsr_parameters"]
    assert sum(p.numel() for p in resampler.parameters()) == recorded["resampler_parameters"]


@pytest.mark.parametrize("scale", [2, 4])
def test_base_pairs_are_small(scale):
    down = ContentAdaptiveResampler(BaseResamplerNet(BaseResamplerConfig(scale)))
    up = Edsr(EdsrConfig(scale, 64, 16, 1.0, "direct"))
    count = sum(p.numel() for net in (down, up) for p in net.parameters())
    assert count <= 3e6
    hr = recorded_input(8 * scale, 5 * scale)
    lr = down(hr)
    assert lr.shape == (1, 3, 8, 5)
    assert up(lr).shape == hr.shape


def test_an_untrained_base_resampler_is_nearly_bicubic():
    torch.manual_seed(0)
    down = ContentAdaptiveResampler(BaseResamplerNet(BaseResamplerConfig(4)))
    smooth = bicubic_up(recorded_input(8, 8), 4).clamp(0, 1)
    assert (down(smooth) - bicubic_down(smooth, 4)).abs().mean() < 0.03


@pytest.mark.parametrize("legacy", [True, False])
def test_a_state_dict_of_the_authors_kind_loads_without_pickle(tmp_path, legacy):
    net = seeded(ResamplerNet(ResamplerConfig(4, features=16, blocks=1)))
    file = tmp_path / "kgn.pth"
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    torch.save(state, file, _use_new_zipfile_serialization=not legacy)
    fresh = ResamplerNet(ResamplerConfig(4, features=16, blocks=1))
    fill_from_state_dict(fresh, file)
    assert all(torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), net.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("body.0.body.0.weight"), r"'body\.0\.body\.0\.weight' is missing"),
        (lambda s: s.update({"head.0.weight": torch.zeros(8, 3, 5, 5)}), r"'head\.0\.weight' has shape \(8, 3, 5, 5\)"),
        (lambda s: s.update({"extra": torch.zeros(1)}), "'extra' does not belong"),
        (lambda s: s.update({"head.0.bias": torch.zeros(8, dtype=torch.int64)}), "not floating point"),
    ],
)
def test_a_state_dict_that_does_not_fit_names_the_tensor(tmp_path, change, message):
    config = EdsrConfig(2, 8, 1, 1.0, "direct")
    state = Edsr(config).state_dict()
    change(state)
    torch.save(dict(state), tmp_path / "usn.pth")
    with pytest.raises(WeightsError, match=message):
        fill_from_state_dict(Edsr(config), tmp_path / "usn.pth")


class _Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path):
    marker, file = tmp_path / "executed", tmp_path / "kgn.pth"
    file.write_bytes(pickle.dumps({"a": _Bomb(marker)}))
    with pytest.raises(WeightsError, match="refused"):
        fill_from_state_dict(Edsr(EdsrConfig(2, 8, 1)), file)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps([1, 2])])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, content):
    file = tmp_path / "kgn.pth"
    file.write_bytes(content)
    with pytest.raises(WeightsError):
        fill_from_state_dict(Edsr(EdsrConfig(2, 8, 1)), file)


@pytest.mark.parametrize(
    ("family", "scale", "architecture", "message"),
    [
        ("nonsense", 4, {}, "unknown family"),
        ("edsr", 4, {"up": {"width": 3}}, "unknown architecture argument 'width'"),
        ("edsr", 4, {"down": {"net": "other"}}, "unknown downscaler of family edsr 'other'"),
        ("edsr", 3, {}, "scales 2 and 4"),
    ],
)
def test_an_architecture_that_does_not_exist_is_an_error(family, scale, architecture, message):
    with pytest.raises(WeightsError, match=message):
        build(family, scale, architecture)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_pillows(scale, photo):
    from PIL import Image

    h, w = (n // scale * scale for n in photo.shape[:2])
    hr = torch.from_numpy(photo[:h, :w].copy()).permute(2, 0, 1)[None].float()
    small = np.asarray(Image.fromarray(photo[:h, :w]).resize((w // scale, h // scale), Image.Resampling.BICUBIC))
    ours = bicubic_down(hr, scale)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours.clip(0, 255) - small).max() <= 1.5  # Pillow rounds between its two passes
    large = np.asarray(Image.fromarray(small).resize((w, h), Image.Resampling.BICUBIC))
    ours = bicubic_up(torch.from_numpy(small.copy()).permute(2, 0, 1)[None].float(), scale)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours.clip(0, 255) - large).max() <= 1.5


@pytest.mark.parametrize(("height", "width", "scale"), [(8, 4, 4), (16, 2, 2), (64, 8, 8), (4, 16, 4), (4, 4, 4), (12, 8, 4)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 3])
def test_bicubic_is_pillows_however_narrow(height, width, scale, layout, channels):
    """torch's own is not, where the result is one pixel wide."""
    from PIL import Image

    hr = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    ours = bicubic_down(hr.contiguous(memory_format=layout), scale)[0].numpy()
    for plane, made in zip(hr[0].numpy(), ours, strict=True):
        pillows = np.asarray(Image.fromarray(plane).resize((width // scale, height // scale), Image.Resampling.BICUBIC))
        assert np.abs(made - pillows).max() < 1e-6
    small = torch.from_numpy(ours.copy())[None].contiguous(memory_format=layout)
    for plane, made in zip(ours, bicubic_up(small, scale)[0].numpy(), strict=True):
        pillows = np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC))
        assert np.abs(made - pillows).max() < 1e-6
