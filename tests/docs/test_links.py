"""Every link and picture in the documents leads somewhere."""

from pathlib import Path

import pytest

from tests.docs.documents import ROOT, anchors_of, documents, links_of

#: Picture and text sizes that a reader of the repository pays for.
MOST_BYTES = 200_000


@pytest.mark.parametrize("document", documents())
def test_internal_links_resolve(document: str) -> None:
    """Each relative link names a file that is there, and a heading in it."""
    broken = []
    for link in links_of(document):
        path, _, anchor = link.text.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (ROOT / document).parent / path if path else ROOT / document
        if not target.exists():
            broken.append(f"{link.place}: {link.text} is not there")
        elif anchor and target.suffix == ".md":
            name = target.resolve().relative_to(ROOT).as_posix()
            if anchor not in anchors_of(name):
                broken.append(f"{link.place}: {name} has no heading {anchor}")

    assert [] == broken


def test_every_document_is_linked_from_the_index_or_the_readme() -> None:
    """Nobody has to guess that a page exists."""
    start = {"README.md", "docs/index.md"} & set(documents())
    linked = {
        ((ROOT / document).parent / link.text.partition("#")[0]).resolve()
        for document in start
        for link in links_of(document)
    }

    assert [] == [name for name in documents() if name not in start and (ROOT / name).resolve() not in linked]


def test_pictures_are_small_and_used() -> None:
    """Each picture stands in a document, and a clone of the repository stays quick."""
    pictures = {path for path in (ROOT / "docs").rglob("*") if path.suffix in {".png", ".svg"}}
    used = {((ROOT / document).parent / link.text).resolve() for document in documents() for link in links_of(document)}

    assert set() == {path.resolve() for path in pictures} - used
    assert [] == [path.name for path in pictures if Path(path).stat().st_size > MOST_BYTES]
