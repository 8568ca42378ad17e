"""Names of results whose images come as a stream: the same as those that a plan of a folder gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcli.batch import plan
from carcli.batch.listing import Found, together
from carcli.batch.present import Present
from carcli.batch.targets import Targets
from carcli.batch.walk import Source
from carcli.errors import CarcliError
from carcli.stores.store import Stored
from carcli.stores.url import Url, place_of

TOP = Url("s3", "b", "in/")
SUFFIXES = (".png", ".jpg", ".jpg.png", ".png.jpg", ".png.png")
STEMS = ("a", "b", "a.k", "a-1", "a/b", "a.k/c", "a/b.k")
NAMES = st.lists(st.builds("".join, st.tuples(st.sampled_from(STEMS), st.sampled_from(SUFFIXES))), unique=True, max_size=8)
KEYS = st.lists(st.text("ab./", min_size=1, max_size=5).filter(lambda key: not key.endswith("/")), max_size=12)


def streamed(names):
    found = (Found(name, TOP.below(name)) for name in sorted(names))
    return {str(job.source)[len(str(TOP)) :]: job for job in Targets(Path("out"), ".png").jobs(found)}


@given(NAMES)
def test_a_stream_gives_the_names_that_a_plan_gives(names):
    folder = Path(__file__).parent  # whose files stand for all: what they are called below it is what counts
    sources = [Source(Path(folder, "nowhere", name), Path(name).parent) for name in sorted(names)]
    planned = {job.source.relative_to(folder / "nowhere").as_posix(): job for job in plan.targeted(sources, Path("out"), ".png")}
    jobs = streamed(names)
    assert set(jobs) == set(planned)
    taken = [job.target for job in jobs.values() if job.target is not None]
    assert len(taken) == len(set(taken))
    assert {name: job.target for name, job in jobs.items()} == {name: job.target for name, job in planned.items()}


def test_names_out_of_order_are_refused():
    with pytest.raises(CarcliError, match="does not list names in order"):
        list(Targets(Path("out"), ".png").jobs(iter([Found("b.png", TOP.below("b.png")), Found("a.png", TOP.below("a.png"))])))


def test_what_is_found_twice_is_there_once():
    one, other = Found("a.png", TOP.below("a.png")), Found("a.png", Url("s3", "c", "a.png"))
    assert list(together([iter([one]), iter([one, other])])) == [one, other]


class Listed:
    """A store of names, which counts what it is asked."""

    def __init__(self, *keys):
        self.keys, self.asked = keys, []

    def entries(self, folder):
        self.asked.append(folder.key)
        inside = {key[len(folder.key) :] for key in self.keys if key.startswith(folder.key)}
        return iter(sorted((Stored(folder.below(n), 1) for n in inside if "/" not in n), key=lambda entry: entry.url.key))

    def stat(self, url):
        self.asked.append(url.key)
        return Stored(url, 1) if url.key in self.keys else None


@given(KEYS, KEYS)
def test_what_is_there_is_told_right_in_any_order(keys, asked):
    store = Listed(*(f"lr/{key}" for key in keys))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("carcli.batch.present.store_of", lambda url: store)
        present = Present(Url("s3", "b", "lr"))
        assert [present.has(name) for name in asked] == [name in keys for name in asked]


def test_in_order_each_folder_is_listed_once(monkeypatch):
    names = [f"{folder}{i}.png" for folder in ("", "deep/", "deep/er/") for i in range(5)]
    store = Listed(*(f"lr/{name}" for name in names[::2]))
    monkeypatch.setattr("carcli.batch.present.store_of", lambda url: store)
    present = Present(Url("s3", "b", "lr/"))
    assert [present.has(name) for name in sorted(names)] == [name in names[::2] for name in sorted(names)]
    assert sorted(store.asked) == ["lr/", "lr/deep/", "lr/deep/er/"]


@pytest.mark.parametrize("name", ["s3:/b/x", "photos", "C:\\photos", "s3//b"])
def test_what_only_looks_like_an_address_is_a_path(name):
    assert place_of(name) == Path(name)


def test_an_address_knows_its_parts():
    url = place_of("S3://b/in/a b?#.tar.png")
    assert (str(url), url.name, url.stem, url.suffix) == ("s3://b/in/a b?#.tar.png", "a b?#.tar.png", "a b?#.tar", ".png")
    assert (url.parent, url.parent.is_folder, url.folder.key) == (TOP, True, "in/a b?#.tar.png/")
    assert (TOP.holds(url), url.holds(TOP)) == (True, False)
