"""A picture of a page as Chromium shows it, for the documentation; in 256 colours, which keeps it small.

carcli bench --dataset tests/photos --scale 4 --model edsr,tad,bicubic --report page.html
python tools/screenshot.py page.html docs/pictures/report.png --height 1770 --to 960
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--hide-scrollbars",
)
SECONDS = 60


def screenshot(page: Path, width: int, height: int) -> Image.Image:
    """The top of a page. Raises ``OSError`` where there is no Chromium, or it makes no picture."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        raise FileNotFoundError(f"none of {', '.join(NAMES)} is installed")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        options = (f"--user-data-dir={folder}", f"--window-size={width},{height}", f"--screenshot={picture}")
        command = [chromium, *ARGUMENTS, *options, page.resolve(strict=True).as_uri()]
        subprocess.run(command, timeout=SECONDS, check=False, capture_output=True)
        with Image.open(picture) as image:
            return image.convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--width", type=int, default=1280, help="of the window, pixels")
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--to", type=int, help="width of the picture, if it is to be smaller")
    given = parser.parse_args()
    try:
        image = screenshot(given.page, given.width, given.height)
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.exit(f"{given.page}: {error}")
    if given.to is not None:
        image = image.resize((given.to, round(image.height * given.to / image.width)), Image.Resampling.LANCZOS)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG).save(given.output, optimize=True)


if __name__ == "__main__":
    main()
