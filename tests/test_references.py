"""Every source in the catalogue is a key of docs/references.md."""

from __future__ import annotations

import re
from pathlib import Path

from derive.catalogue import catalogue

REFERENCES = (Path(__file__).parent.parent / "docs" / "references.md").read_text(encoding="utf-8")
KEYS = re.findall(r"^\| `([a-z0-9-]+)` \|", REFERENCES, re.MULTILINE)


BIBTEX = (Path(__file__).parent.parent / "derive" / "catalogue" / "references.bib").read_text(encoding="utf-8")


def keys_of(source):
    return [part.split(",")[0].strip() for part in source.split(";")]


def test_every_source_is_in_the_list_of_references():
    unknown = {name: key for name, estimator in catalogue.items() for key in keys_of(estimator.source) if key not in KEYS}
    assert unknown == {}


def test_the_references_are_sorted_and_each_key_stands_once():
    assert sorted(set(KEYS)) == KEYS


def test_a_source_may_name_equations_and_several_papers():
    assert keys_of("tucker-2017, eq. 8; grathwohl-2018") == ["tucker-2017", "grathwohl-2018"]


def test_the_list_for_bibtex_has_the_same_sources_with_authors_and_titles():
    entries = re.findall(r"^@\w+\{([a-z0-9-]+),\n(.*?)^\}$", BIBTEX, re.MULTILINE | re.DOTALL)
    assert [key for key, _ in entries] == KEYS
    for key, entry in entries:
        title = re.search(r"title = \{\{(.*)\}\}", entry)[1].replace("\\", "")
        line = next(line for line in REFERENCES.splitlines() if line.startswith(f"| `{key}`"))
        assert title in line
        assert re.search(r"author = \{\S", entry)
        assert entry.count("{") == entry.count("}")
