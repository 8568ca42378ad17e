"""The picture of the README: an original, its LR image, and what bicubic and carcli make of it.

python tools/picture.py tests/photos/cat.jpg docs/pictures/cat.png --left 60 --top 40
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import carcli
from carcli.images import metrics

SCALE, SIDE, GAP, LINE = 4, 240, 8, 20  # pixels: a panel's side, between panels, a line of text
PAPER, INK = (255, 255, 255), (40, 40, 40)


def _psnr(original: Image.Image, restored: Image.Image) -> str:
    hr, sr = (carcli.images.exchange.to_picture(image).pixels for image in (original, restored))
    return f"{metrics.psnr_y(hr, sr, SCALE):.1f} dB"


def panels(photo: Image.Image, left: int, top: int) -> list[tuple[Image.Image, str, str]]:
    """Each a square of ``SIDE`` pixels with two lines of text; of the whole photograph are the figures."""
    lr = carcli.load("edsr", SCALE, "cpu").down(photo)
    restored = carcli.up(lr, "cpu")
    thumbnail = carcli.load("bicubic", SCALE, "cpu").down(photo)
    enlarged = carcli.up(thumbnail, "cpu")
    box = (left, top, left + SIDE, top + SIDE)
    small = lr.crop((left // SCALE, top // SCALE, (left + SIDE) // SCALE, (top + SIDE) // SCALE))
    stored = small.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    stored.paste(PAPER, (SIDE - small.width - 4, SIDE - small.height - 4, SIDE, SIDE))
    stored.paste(small, (SIDE - small.width, SIDE - small.height))
    return [
        (photo.crop(box), "original", f"{photo.width}x{photo.height}"),
        (stored, "carcli down: what is kept", f"{lr.width}x{lr.height}; in the corner at its size"),
        (enlarged.crop(box), "a thumbnail of that size, enlarged", f"bicubic, {_psnr(photo, enlarged)}"),
        (restored.crop(box), "carcli up: restored", f"from what is kept, {_psnr(photo, restored)}"),
    ]


def picture(photo: Image.Image, left: int, top: int) -> Image.Image:
    """The panels side by side."""
    every = panels(photo, left, top)
    sheet = Image.new("RGB", (len(every) * (SIDE + GAP) - GAP, SIDE + 2 * LINE + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (panel, name, detail) in enumerate(every):
        x = number * (SIDE + GAP)
        sheet.paste(panel, (x, 0))
        draw.text((x, SIDE + 4), name, INK, font)
        draw.text((x, SIDE + 4 + LINE), detail, INK, font)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--left", type=int, default=0, help="of the detail that is shown, pixels")
    parser.add_argument("--top", type=int, default=0)
    given = parser.parse_args()
    with Image.open(given.photo) as photo:
        sheet = picture(photo.convert("RGB"), given.left, given.top)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(given.output, optimize=True)


if __name__ == "__main__":
    main()
