"""A recipe says what is wrong with it in a line: which recipe, which table, which key; its name is fit to be an id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import TINY_TAD

from carcli.errors import UsageError
from carcli.training import recipe
from tools import keys

MODEL = '[model]\nfamily = "edsr"\nscale = 2\n'


def complaint(text: str, name: str = "mine") -> str:
    with pytest.raises(UsageError) as error:
        recipe.parse(text, name)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\nfamily = 'edsr'", "scale"),
        ("[modle]\nfamily = 'edsr'", "unknown key 'modle'"),
        (MODEL + "[optimiser]\nrte = 1", "unknown key 'rte'"),
        (MODEL + "[optimiser]\nrate = 'fast'", "rate must be a number"),
        (MODEL + "[loss]\nrounding = 'hard'", "rounding must be one of straight-through, soft, none"),
        (MODEL + "recursion = [0, 1]", "recursion must be a list of whole numbers from 1"),
        (MODEL + "[optimiser\n", "recipe mine"),
        (MODEL + "recursion = " + "[" * 5000, "recipe mine: holds a number or a nesting that is too long to read"),
        ("minutes = " + "1" * 5000, "recipe mine: holds a number or a nesting that is too long to read"),
        ('name = "a\\nb"\nminutes = "x"', r"recipe a\nb"),
    ],
)
def test_a_recipe_that_is_wrong_names_the_key(text, message):
    assert message in complaint(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\nfamily = 3\nscale = 2", "recipe mine, model: family must be a string, not 3"),
        ("[model]\nfamily = 'edsr'\nscale = -2", "recipe mine, model: scale must be at least 1, not -2"),
        ("[model]\nfamily = 'edsr'\nscale = true", "recipe mine, model: scale must be a whole number, not True"),
        ("[model]\nfamily = 'edsr'\nscale = 2.0", "recipe mine, model: scale must be a whole number, not 2.0"),
        ("model = 3", "recipe mine: model must be a table, not 3"),
        ("minutes = 1", "recipe mine: model is missing"),
        ("minutes = -3\n" + MODEL, "recipe mine: minutes must be greater than 0, not -3"),
        (MODEL + "recursion = []", "recipe mine, model: recursion must be a list of whole numbers from 1, not []"),
        (MODEL + "down = 3", "recipe mine, model: down must be a table, not 3"),
        (MODEL + "[data]\npatch = 0", "recipe mine, data: patch must be at least 1, not 0"),
        (MODEL + "[data]\nbatch = 0", "recipe mine, data: batch must be at least 1, not 0"),
        (MODEL + "[data]\nseed = -1", "recipe mine, data: seed must be at least 0, not -1"),
        (MODEL + "[loss]\nlr_guidance = -1", "recipe mine, loss: lr_guidance must be at least 0, not -1"),
        (MODEL + "[optimiser]\nbetas = 'x'", "recipe mine, optimiser: betas must be two numbers from 0 and below 1, not 'x'"),
        (MODEL + "[optimiser]\nbetas = [0.9]", "recipe mine, optimiser: betas must be two numbers from 0 and below 1, not [0.9]"),
        (MODEL + "[optimiser]\nrate = nan", "recipe mine, optimiser: rate must be a finite number, not nan"),
        (MODEL + "[optimiser]\nrate = 0", "recipe mine, optimiser: rate must be greater than 0, not 0"),
        (MODEL + "[optimiser]\nrate = true", "recipe mine, optimiser: rate must be a number, not True"),
        (MODEL + "[data]\nsize = 3", "recipe mine, data: unknown key 'size' (known: batch, patch, seed)"),
        (MODEL + "[dta]\nsize = 3", "recipe mine: unknown key 'dta' (known: data, loss, minutes, model, name, optimiser)"),
    ],
)
def test_what_is_wrong_is_said_with_recipe_table_and_key(text, message):
    assert complaint(text) == message


@pytest.mark.parametrize(
    ("name", "better"),
    [("My Recipe", "my-recipe"), ("Größe", "gr-e"), ("UPPER_2", "upper_2"), ("-", "mine"), ("x" * 65, "x" * 64)],
)
def test_a_name_that_no_checkpoint_can_have_is_refused_with_one_that_it_can(name, better):
    assert complaint(TINY_TAD, name).endswith(f"rename the file to {better}.toml")
    assert recipe.parse(TINY_TAD, better).name == better


def test_a_file_is_refused_by_its_name(tmp_path):
    path = tmp_path / "My Recipe.toml"
    path.write_text(TINY_TAD)
    with pytest.raises(UsageError, match=r"rename the file to my-recipe\.toml"):
        recipe.load(str(path))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not a text file in UTF-8"):
        recipe.load(str(path))


def test_a_change_is_checked_as_a_recipe_is():
    tiny = recipe.parse(TINY_TAD, "tiny")
    changed = recipe.change(tiny, "other", loss={"lr_guidance": 0.5})
    assert (changed.name, changed.loss.lr_guidance, changed.model) == ("other", 0.5, tiny.model)
    assert recipe.change(changed, "tiny", loss={"lr_guidance": tiny.loss.lr_guidance}) == tiny
    with pytest.raises(UsageError, match="recipe tiny, optimiser: rate must be a finite number, not nan"):
        recipe.change(tiny, optimiser={"rate": float("nan")})


def test_a_recipe_in_a_state_or_log_is_as_it_ever_was():
    """A run that an earlier version began can be resumed: ``state.pt`` holds this text."""
    text = """{
        "name": "tad-recursive", "minutes": 45, "data": {"batch": 3, "patch": 64, "seed": 2},
        "model": {
            "family": "tad", "scale": 2, "freeze": "none", "recursion": [1, 2, 3, 4, 5], "down": {"blocks": 6, "features": 64},
            "up": {"blocks": 16, "features": 64, "res_scale": 1.0, "tail": "direct"}
        },
        "loss": {
            "reconstruction": "l1", "rounding": "straight-through", "offset_distance": 0.0, "partial_tv": 0.0, "guidance": "l1",
            "guidance_rise": 0.0, "lr_guidance": 0.02, "seen_guidance": 0.0, "seen_sigma": 1.0, "out_of_range": 0.1
        },
        "optimiser": {
            "kind": "adam", "rate": 0.0005, "adam_rate": 0.0, "betas": [0.9, 0.99], "clip": 0.5, "collapse": 2.0, "ema": 0.999,
            "final": 0.01, "momentum": 0.95, "revive": 0.5, "warmup": 0.02
        }
    }"""
    assert recipe.checked(json.loads(text)) == recipe.load("tad-recursive")


def test_every_key_of_a_recipe_is_on_the_page():
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    assert keys.table() in page
    assert len(list(keys.rows())) == 1 + sum(len(part.model_fields) for part in list(keys.PARTS.values())[1:])
