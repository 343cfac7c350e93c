"""Each block that is or seems to be a derivation is checked, or refused with its line; examples of blocks are neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from derive.cli.main import run
from derive.written.block import Written, check_page
from derive.written.page import Unreadable, blocks
from numeric.cli.main import app

STEPS = "a * 2\n= 2 * a by algebra\n"
BLOCK = f"```derivation\n{STEPS}```\n"


def indented(text, by):
    return "".join(f"{by}{line}\n" for line in text.splitlines())


def opened(by, closed="```"):
    return f"{by}\n{STEPS}{closed}\n"


CHECKED = {
    "plain": (BLOCK, 2),
    "directive": (opened("```{derivation}"), 2),
    "space before": (opened("``` derivation"), 2),
    "space behind": (opened("```derivation  ", "```  "), 2),
    "tildes": (opened("~~~derivation", "~~~"), 2),
    "colons": (opened(":::derivation", ":::"), 2),
    "colons, directive": (opened(":::{derivation}", ":::"), 2),
    "four": (opened("````derivation", "````"), 2),
    "closed by more": (opened("```derivation", "`````"), 2),
    "three columns": (indented(BLOCK, "   "), 2),
    "list": (f"- item\n\n{indented(BLOCK, '  ')}", 4),
    "numbered list": (f"1. item\n\n{indented(BLOCK, '    ')}", 4),
    "list of lists": (f"- a\n  - b\n    - c\n\n{indented(BLOCK, '      ')}", 6),
    "list by a tab": (f"- item\n\n{indented(BLOCK, chr(9))}", 4),
    "beside the mark": (f"- ```derivation\n{indented(STEPS + '```', '  ')}", 2),
    "quotation": (indented(BLOCK, "> "), 2),
    "quotation of a quotation": (indented(BLOCK, ">> "), 2),
    "carriage returns": (BLOCK.replace("\n", "\r\n"), 2),
    "byte order mark": ("\ufeff" + BLOCK, 2),
    "behind a block in a list": (f"- ~~~~py\n  x\n  ~~~~\n\n{BLOCK}\n- ~~~~py\n  x\n  ~~~~\n", 6),
    "details": (f"<details>\n\n{BLOCK}\n</details>\n", 4),
    "note": (f"````{{note}}\n{BLOCK}````\n", 3),
    "note by colons": (f":::{{note}}\n{BLOCK}:::\n", 3),
}

REFUSED = {
    "capital": (opened("```Derivation"), 1),
    "capitals": (opened("```DERIVATION"), 1),
    "colons, capital": (opened(":::Derivation", ":::"), 1),
    "two words": (opened("```derivation score"), 1),
    "argument": (opened("```{derivation} score"), 1),
    "attributes": (opened("```derivation {#x}"), 1),
    "class": (opened("```{.derivation}"), 1),
    "class among others": (opened("```text {#x .derivation}"), 1),
    "code block of the name": (opened("```{code-block} derivation"), 1),
    "misspelled": (opened("```derivaton"), 1),
    "plural": (opened("```derivations"), 1),
    "another alphabet": (opened("```derivаtion"), 1),
    "entity": (opened("```deriv&#97;tion"), 1),
    "colon behind": (opened("```derivation:"), 1),
    "space of no width": (opened("```derivation\u200b"), 1),
    "space of no width before": (opened("\u200b```derivation"), 1),
    "mark inside a page": (f"x\n\n\ufeff{BLOCK}", 3),
    "two backticks": (opened("``derivation", "``"), 1),
    "quotes": (opened("'''derivation", "'''"), 1),
    "four columns": (f"text\n\n{indented(BLOCK, '    ')}", 3),
    "tab": (indented(BLOCK, "\t"), 1),
    "four columns under a paragraph": (f"text\n{indented(BLOCK, '    ')}", 2),
    "admonition": (f"!!! note\n\n{indented(BLOCK, '    ')}", 3),
    "not closed": (f"```derivation\n{STEPS}", 1),
    "colons, not closed": (f":::derivation\n{STEPS}", 1),
    "closed by less": (opened("````derivation"), 1),
    "closed too far in": (opened("```derivation", "    ```"), 1),
    "quotation that ends": ("> ```derivation\n> a * 2\n= 2 * a by algebra\n", 1),
    "another block, not closed": (f"~~~python\nx = 1\n\n{BLOCK}", 4),
    "another block, closed by the next": (f"~~~python\nx = 1\n\n{BLOCK}\n~~~python\ny\n~~~\n", 4),
    "another block of as many marks": ("```text\n```derivation\na\n```\n", 2),
    "comment": (f"<!--\n{BLOCK}-->\n", 2),
    "comment on its line": (f"<!-- ```derivation\n{STEPS}``` -->\n", 1),
    "element": (f"<div>\n{BLOCK}</div>\n", 2),
    "element on its line": (f"<pre>```derivation\n{STEPS}```</pre>\n", 1),
    "code of several lines": ("```derivation a\n= b by algebra```\n", 1),
    "table": ("| ```derivation |\n|--|\n| x |\n", 1),
    "too deep": (indented(BLOCK, ">" * 200), 1),
    "reStructuredText": ("```{eval-rst}\n.. derivation::\n\n   a\n```\n", 2),
}

PASSED = {
    "example of a block": "````markdown\n```derivation\nwrong\n```\n````\n",
    "example between tildes": "~~~markdown\n```derivation\nwrong\n```\n~~~\n",
    "code": "```python\n# derivation\nderivation = '```derivation'\n```\n",
    "command": "```sh\ngradproof check derivation.md\n```\n",
    "name of a file": '```python title="derivation.py"\nx\n```\n',
    "bare block": "```\nderivation\n```\n",
    "indented code": "text\n\n    derivation = 1\n",
    "sentence": "A block ```derivation is one, and so is `derivation`.\n",
    "code at the start of a sentence": "``derivation`` blocks are checked.\n",
    "block at the start of a sentence": "```derivation``` blocks are checked.\n",
    "name of a known derivation": "```{derivation} score-function\n```\n",
    "heading": "# Derivation\n\nDerivations: of a derivation.\n",
}


@pytest.mark.parametrize("shape", CHECKED)
def test_what_opens_a_block_is_checked(shape):
    page, line = CHECKED[shape]
    assert [(type(found), found.line) for found in check_page(f"{page}\n{BLOCK}")][:1] == [(Written, line)]
    [wrong, right] = check_page(f"{page.replace('= 2', '= 3')}\n{BLOCK}")
    assert (type(wrong).__name__, wrong.line, type(right)) == ("WrongStep", line + 1, Written)


@pytest.mark.parametrize("shape", REFUSED)
def test_what_nearly_opens_a_block_is_refused_with_its_line(shape):
    page, line = REFUSED[shape]
    found = [(type(each), each.line) for each in check_page(f"{page}\n")]
    assert found == [(Unreadable, line)]
    assert (Written, 2) in [(type(each), each.line) for each in check_page(f"{BLOCK}\n{page}")]


@pytest.mark.parametrize("shape", PASSED)
def test_what_talks_about_derivations_passes(shape):
    assert list(blocks(PASSED[shape])) == []
    assert [type(found) for found in check_page(f"{PASSED[shape]}\n{BLOCK}")] == [Written]


LONG = ["<!>" * 3000, "<" * 20_000, "`" * 20_000, "` " * 20_000, "```" + "d" * 20_000, "- " * 500, ">" * 5000]


@pytest.mark.parametrize("page", LONG)
def test_no_line_takes_long_to_pass_over(page):
    assert [found for found in blocks(page + "\n") if not isinstance(found, Unreadable)] == []


def test_the_command_refuses_a_page_with_an_unchecked_block_beside_a_right_one(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text(f"{BLOCK}\n{opened('```Derivation')}", encoding="utf-8")
    assert run(app, ["check", "page.md"]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "page.md:2: holds, 1 steps",
        "page.md:6: cannot be read: a block that is checked opens with '```derivation' alone; got '```Derivation'.",
    ]
