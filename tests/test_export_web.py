"""``carcli export --web``: the page of a model, by the command line."""

from __future__ import annotations

import json

import pytest
from test_cli import carcli as command

pytest.importorskip("onnx", reason="pip install 'carcli[onnx]'")
pytest.importorskip("onnxscript", reason="pip install 'carcli[onnx]'")


def test_it_writes_a_folder_that_a_web_server_hands_out(tmp_path):
    code, out, _ = command("export", "bicubic", "--scale", "2", "--web", str(tmp_path / "site"), "--json")
    assert code == 0
    written = [json.loads(line) for line in out.splitlines()]
    assert {event["event"] for event in written} == {"written"}
    assert {"index.html", "up.onnx", "model.json", "package.json", "slider.js"} <= {
        path.name for path in (tmp_path / "site").iterdir()
    }
    told = json.loads((tmp_path / "site" / "model.json").read_text())
    assert (told["checkpoint"], told["scale"], told["ordinary"]) == ("bicubic", 2, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["tad-x4", "-o", "x"], "--web and --output contradict each other"),
        (["tad-x4", "--precision", "fp16"], "--web and --precision contradict each other"),
        (["tad", "--scale", "8"], "export each by itself"),
        (["nothing"], "unknown model 'nothing'"),
    ],
)
def test_what_contradicts_it_is_refused(tmp_path, options, said):
    code, _, err = command("export", *options, "--web", str(tmp_path / "site"))
    assert (code, said in err) == (2 if "contradict" in said or "each" in said else 3, True)
    assert not (tmp_path / "site").exists()
