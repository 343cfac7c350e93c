"""What a headless browser finds of a page, where one is installed: too wide, cut, out of reach of the keyboard, an error."""

from __future__ import annotations

import re

import pytest

from docs.site.look import DARK, browser, look

pytestmark = [pytest.mark.slow, pytest.mark.skipif(browser() is None, reason="no Chromium is installed")]


def page(body, style=""):
    return f"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><style>{style}</style>{body}"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("<article><p>short</p></article>", []),
        ("<article><p style='width:600px'>wide</p></article>", ["scrolls sideways, 6.. px, p: wide"]),
        ("<article><div style='overflow-x:auto'><p style='width:600px'>f</p></div></article>", ["no key reaches div: f"]),
        ("<article><div tabindex=0 style='overflow-x:auto'><p style='width:600px'>f</p></div></article>", []),
        ("<article><div style='overflow-x:hidden'><p style='width:600px'>f</p></div></article>", ["is cut: div: f"]),
    ],
)
def test_what_is_wrong_is_found(tmp_path, body, found):
    (tmp_path / "a.html").write_text(page(body), encoding="utf-8")
    answers, console = look(tmp_path, ["a.html"])
    said = answers["a.html"]["found"]
    assert len(said) == len(found)
    assert all(map(re.fullmatch, found, said)), said
    assert console == []


def test_an_error_of_a_script_is_found(tmp_path):
    (tmp_path / "a.html").write_text(page("<article>a</article><script>nothing.here</script>"), encoding="utf-8")
    _, console = look(tmp_path, ["a.html"])
    assert "nothing is not defined" in "".join(console)


def test_a_reader_who_wants_it_dark_is_known(tmp_path):
    style = "body { background: #fff } @media (prefers-color-scheme: dark) { body { background: #000 } }"
    (tmp_path / "a.html").write_text(page("a", style), encoding="utf-8")
    assert look(tmp_path, ["a.html"])[0]["a.html"]["background"] == "rgb(255, 255, 255)"
    assert look(tmp_path, ["a.html"], DARK)[0]["a.html"]["background"] == "rgb(0, 0, 0)"
