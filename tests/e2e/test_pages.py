"""What the README and the pages of docs/ name is there: the files that they link to, and those that the tour walks through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "examples/atlas/README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_tour_walks_through_what_is_there():
    """A name is a path, or stands in a folder that was named before: the last one that has it."""
    folders = [ROOT]
    names = re.findall(r"`([a-z_0-9/]+(?:/|\.[ch]))`", (ROOT / "docs/TOUR.md").read_text())
    assert len(names) > 40
    for name in names:
        found = [folder / name for folder in reversed(folders) if (folder / name).exists()]
        assert found, name
        folders.append(found[0] if found[0].is_dir() else found[0].parent)
