"""Both halves of a pair over pictures: pixels, alpha and tag, down and up."""

from __future__ import annotations

from dataclasses import replace

import torch

from carcli.engines.computing import Computing, computing
from carcli.engines.elsewhere import computed
from carcli.engines.names import TORCH, check_backend, check_computes
from carcli.errors import ImageError, UsageError
from carcli.images import grey, profile
from carcli.images.alpha import filled
from carcli.images.formats import MAX_PIXELS
from carcli.images.picture import Picture, Pixels
from carcli.images.tag import Tag, natural_size
from carcli.images.written import JPEG, Encoding
from carcli.models.base import Half, Network, Pair
from carcli.models.bicubic import BicubicDown, BicubicUp
from carcli.models.ensemble import SelfEnsemble
from carcli.ops.kernels import Kernel
from carcli.ops.resize import resize
from carcli.rescale import tiling
from carcli.rescale.turn import ALONE, Turn
from carcli.runtime.device_names import AUTO
from carcli.weights.choose import Choice, loss, refuse_ensemble

LOST = "was saved with loss: what {} hid in its single levels is gone, and it is restored as an ordinary image would be"
USUAL_LOSS = Encoding(JPEG, 90)  # what an LR image is most likely saved as by somebody who does not think of it

ALPHA: Kernel = "bicubic"  # what resizes alpha where the scale alone does not make the size


class PictureRescaler:
    """Both networks of a checkpoint on a device; what batches, refinement and ``Rescaler`` work with."""

    def __init__(self, choice: Choice, pair: Pair, device: torch.device, precision: str = "fp32", backend: str = TORCH) -> None:
        """Raises ``UsageError`` where a network does not compute in that precision, or such an engine not at all."""
        self.id = choice.description.id
        self.family = choice.description.family
        self.scale = choice.description.scale
        self.digest = choice.digest
        self.choice = choice
        check_backend(backend, precision, str(device))
        check_computes(backend, choice)
        self.device = device
        if backend == AUTO and (choice.torch_alone or choice.network is not None):
            backend = TORCH  # nobody has measured that another engine makes the same of a network of other makers
        self.computing: dict[Half, Computing] = {  # how each half is computed: what was asked, or what ``auto`` became
            "down": computing(backend, precision, "down", device, pair.down),
            "up": computing(backend, precision, "up", device, pair.up),
        }
        for net in pair:
            if precision not in (AUTO, *net.precisions):
                raise UsageError(f"{self.id} does not compute in {precision}; use {' or '.join(net.precisions)}")
            net.to(device)
            if net.channels_last:
                net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.networks = pair
        self._down = computed(choice, pair.down, "down", self.computing["down"])
        self._up = computed(choice, pair.up, "up", self.computing["up"])
        self._alpha_down, self._alpha_up = BicubicDown(self.scale), BicubicUp(self.scale)

    def _run(
        self,
        network: Network,
        pixels: tiling.Image,
        down: bool,
        tile: int | None,
        turn: Turn,
        rounded: bool = True,
    ) -> tiling.Image:
        device, precision = self.device, self.computing["down" if down else "up"].precision
        return tiling.run(network, pixels, down=down, device=device, precision=precision, tile=tile, turn=turn, rounded=rounded)

    @property
    def precision(self) -> str:
        """What ``up`` computes in; ``down`` in the same, but in fp32 where it is left to carcli."""
        return self.computing["up"].precision

    @property
    def backend(self) -> str:
        """The engine of ``up``; that of ``down`` is torch where it is left to carcli."""
        return self.computing["up"].backend

    @property
    def to_grey(self) -> bool:
        """Whether the LR image of a colour image has one channel, from which ``up`` restores three."""
        return self._down.channels_out == 1

    @property
    def keeps_grey(self) -> bool:
        """Whether a grey image's LR image is grey, and loses nothing by it: nothing is hidden in colours."""
        return self.to_grey or self._down.keeps_grey

    def loss(self, encoding: Encoding) -> str | None:
        """What an LR file in that format would cost, in words; None where the pair hides nothing, or was trained through one."""
        return loss(self.choice, encoding)

    def restore(
        self, lr: Pixels, tile: int | None = None, turn: Turn = ALONE, was_grey: bool = False, ensemble: bool = False
    ) -> Pixels:
        """What LR pixels (h, w, C) uint8 restore to: (s·h, s·w, C) uint8, or three channels where colour comes from grey.

        ``was_grey`` says of the original that it had one channel: then the mean of those restored, C = 1; ``ensemble`` is
        that of ``up_picture``.
        """
        restored = self._run(self._upscaler(ensemble), lr, False, tile, turn)
        return grey.averaged(restored) if was_grey else restored

    def _upscaler(self, ensemble: bool) -> Network:
        return SelfEnsemble(self._up) if ensemble else self._up

    @property
    def kernel(self) -> Kernel:
        """What resizes where the scale alone does not make the size: the classical families by themselves."""
        own: dict[str, Kernel] = {"bicubic": "bicubic", "lanczos": "lanczos"}
        return own.get(self.family, "dct")

    def down_picture(
        self,
        picture: Picture,
        tile: int | None = None,
        turn: Turn = ALONE,
        size: tuple[int, int] | None = None,
        *,
        keep_grey: bool = False,
    ) -> Picture:
        """A picture's LR picture with its tag; ``tile`` in LR pixels a side (the family's own by default).

        ``size`` is width and height of the LR picture, where the scale alone does not make them; alpha is resized then
        without a network. A grey picture's LR picture is in colour where the pair puts something into colours, so that
        ``up`` restores as much as of RGB, and grey then, as the tag tells it; with ``keep_grey`` it stays grey, and
        restores worse. Colours beneath transparency are replaced by those beside them first: they never show. Raises
        ``ImageError`` where the picture would have to be enlarged beyond what is read.
        """
        width, height = picture.size
        alpha = picture.alpha
        pixels = filled(picture.pixels, alpha)
        was_grey = pixels.shape[2] == 1
        in_colour = was_grey and not (keep_grey or self.keeps_grey)
        tag = Tag(self.id, self.digest, self.scale, width, height, grey=was_grey)
        if size is not None and size != natural_size(width, height, self.scale):
            tag = replace(tag, lr_width=size[0], lr_height=size[1], resize=self.kernel)
            _refuse_if_too_large(_times(size, self.scale), "would be resized to", "name a smaller size, or a scale of the model")
            pixels = resize(pixels, _times(size, self.scale), self.kernel, before_band=turn.check)
        pixels = self._run(self._down, grey.in_colour(pixels) if in_colour else pixels, True, tile, turn)
        if in_colour:
            pixels = grey.collapsed(pixels)
        if alpha is not None and tag.resize is not None:
            alpha = resize(alpha, tag.lr_size, ALPHA, rounded=True)
        elif alpha is not None and self.scale > 1:
            alpha = self._run(self._alpha_down, alpha, True, tile, turn)
        channels = pixels.shape[2]
        icc, notes = profile.in_colour(picture.icc) if was_grey and channels == 3 else profile.fitting(picture.icc, channels)
        return replace(
            picture,
            pixels=pixels,
            alpha=alpha,
            icc=icc,
            tag=tag,
            tag_error=None,
            notes=notes,
            exact=self.loss(USUAL_LOSS),
            lossy=False,
        )

    def restored_size(self, picture: Picture) -> tuple[int, int]:
        """Width and height that an LR picture restores to."""
        width, height = picture.size
        tag = picture.tag
        return _times((width, height), self.scale) if tag is None else (tag.width, tag.height)

    def up_picture(
        self,
        picture: Picture,
        tile: int | None = None,
        turn: Turn = ALONE,
        size: tuple[int, int] | None = None,
        *,
        was_grey: bool = False,
        ensemble: bool = False,
    ) -> Picture:
        """The restored picture, cropped or resized to the size that the tag gives where there is one.

        ``size`` is width and height that a picture without a tag is resized to. The result is grey where the tag says
        that of the original, or ``was_grey`` does. With ``ensemble`` it is the mean of eight views, turned and mirrored: a
        little better for ordinary images, and eight times as slow. Raises ``ImageError`` where the tag was made with other
        weights, grey is needed and the picture is not, or the result would be larger than what is read; ``UsageError``
        for an ensemble where the pair's LR images hide something.
        """
        tag = picture.tag
        if tag is not None and (tag.checkpoint, tag.scale) != (self.id, self.scale):
            raise ImageError(
                f"was made with {tag.checkpoint} at scale {tag.scale}, not {self.id} at scale {self.scale}; restore it with "
                "that model, or ignore its tag to restore it as an ordinary image"
            )
        if tag is not None and tag.digest != self.digest:
            raise ImageError(
                f"was made with another version of {tag.checkpoint} ({tag.digest[:12] or 'none'}, here {self.digest[:12]}); "
                "restore it with the carcli or the .safetensors file that made it, "
                "or ignore its tag to restore it as an ordinary image"
            )
        if ensemble:
            refuse_ensemble(self.choice, tagged=tag is not None)
        if self.to_grey and picture.pixels.shape[2] != 1:
            raise ImageError(f"has three channels; {self.id} restores the colours of grey images")
        width, height = size or self.restored_size(picture)
        kernel = self.kernel if size is not None else tag.resize if tag is not None else None
        for large in (_times(picture.size, self.scale), (width, height)):
            _refuse_if_too_large(large, "would become", "restore parts of it")
        lr = filled(picture.pixels, picture.alpha, seen=1)  # somebody may have blackened what down had filled
        was_grey = was_grey or (tag is not None and tag.grey)
        if kernel is None:
            pixels = self.restore(lr, tile, turn, was_grey, ensemble)[:height, :width]
        else:
            enlarged = self._run(self._upscaler(ensemble), lr, False, tile, turn, rounded=False)
            pixels = resize(enlarged, (width, height), kernel, rounded=True, before_band=turn.check)
            pixels = grey.averaged(pixels) if was_grey else pixels
        alpha = picture.alpha
        if alpha is not None and kernel is not None:
            alpha = resize(alpha, (width, height), ALPHA, rounded=True)
        elif alpha is not None and self.scale > 1:
            alpha = self._run(self._alpha_up, alpha, False, tile, turn)[:height, :width]
        icc, notes = profile.in_grey(picture.icc) if pixels.shape[2] == 1 else profile.fitting(picture.icc, 3)
        if tag is not None and picture.lossy and self.loss(USUAL_LOSS) is not None:
            notes = (LOST.format(self.id), *notes)
        restored = replace(picture, pixels=pixels, alpha=alpha, icc=icc, tag=None, tag_error=None, notes=notes)
        return replace(restored, exact=None, lossy=False)


def _times(size: tuple[int, int], scale: int) -> tuple[int, int]:
    return size[0] * scale, size[1] * scale


def _refuse_if_too_large(size: tuple[int, int], what: str, how: str) -> None:
    """Raise ``ImageError`` where what is made is larger than what would be read."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{what} {width}x{height}, more than {MAX_PIXELS // 1_000_000} megapixels; {how}")
