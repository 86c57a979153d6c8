"""Static files are collected when something changed, and only then."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders

from studio.staticfiles import PLOTLY, collect_if_changed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path: Path, settings: Any) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.css").write_text("a { color: red }\n" * 50)
    settings.STATICFILES_DIRS = [tmp_path / "source"]
    settings.STATIC_ROOT = tmp_path / "collected"
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "studio.staticfiles.NamedByContent"}}
    finders.get_finder.cache_clear()
    return tmp_path / "source"


@pytest.fixture(autouse=True)
def _fresh_finders() -> Any:
    yield
    finders.get_finder.cache_clear()


def test_the_second_start_collects_nothing_and_a_change_is_noticed(source: Path, tmp_path: Path) -> None:
    assert collect_if_changed()
    assert len(list((tmp_path / "collected").glob("a.*.css.gz"))) == 1
    assert not collect_if_changed()
    (source / "a.css").write_text("a { color: blue }\n" * 51)
    assert collect_if_changed()
    assert len(list((tmp_path / "collected").glob("a.*.css.gz"))) == 1


def test_plotly_is_found_alone() -> None:
    found = finders.find(PLOTLY)
    assert isinstance(found, str)
    assert Path(found).is_file()
    assert finders.find("vendor/plotly/widgetbundle.js") is None


def test_all_styles_together_stay_under_20_kb() -> None:
    styles = b"".join(path.read_bytes() for path in sorted((ROOT / "static" / "css").glob("*.css")))
    assert len(gzip.compress(styles)) < 20_000
