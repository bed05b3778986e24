"""What mkdocs does with a page before it renders it.

A line ``<!-- generated: NAME -->`` is replaced by text made from the code (`reference.py` in this folder), so that a
page never lists less than the code has. Links to files of the repository that are no pages of the site lead to GitHub.
"""

import logging
import posixpath
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reference

LOG = logging.getLogger("mkdocs.plugins.hooks")
ROOT = Path(__file__).resolve().parents[2]
SOURCE = "https://github.com/maggjob/maggjob/blob/main"
ITEM = re.compile(r"(?:[-*]|\d+\.) +")
MARK = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s#]+)((?:#[^)\s]*)?)\)")
# Pages of the site that show a file of the repository.
SHOWN = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


def on_page_markdown(markdown, page, config, files):
    """Return the text of a page with generated parts, and with links that work on the site."""
    here = posixpath.dirname(page.file.src_uri)
    text = nested(MARK.sub(lambda found: reference.text_of(found[1]), markdown))

    def link(found):
        path, anchor = found[1], found[2]
        inside = posixpath.normpath(posixpath.join("docs", here, path))
        # A page that shows a file of the root: its links are written from there.
        if here == "" and page.file.src_uri in SHOWN.values():
            inside = posixpath.normpath(path)
        if inside in SHOWN:
            target = SHOWN[inside]
        elif inside.startswith("docs/") and files.get_file_from_path(inside.removeprefix("docs/")):
            target = inside.removeprefix("docs/")
        elif inside == "README.md":
            target = "index.md"
        else:
            if not (ROOT / inside).exists():
                LOG.warning("%s: the link %s leads nowhere", page.file.src_uri, path)
            return f"]({SOURCE}/{inside}{anchor})"
        return f"]({posixpath.relpath(target, here or '.')}{anchor})"

    return LINK.sub(link, text)


def nested(markdown):
    """Return a text whose lists nest as GitHub shows them: what belongs to an entry is indented by four spaces."""
    lines, indent, start, fenced = [], 0, 0, False
    for line in markdown.split("\n"):
        own = len(line) - len(line.lstrip())
        if line.startswith("```"):
            fenced, indent = not fenced, 0
        elif not fenced and own == 0 and line:
            item = ITEM.match(line)
            # After a paragraph of an entry, the next entry would be a part of it.
            if item and indent and "" in lines[start:] and lines[-1]:
                lines.append("")
            indent, start = (len(item[0]) if item else 0), len(lines)
        lines.append(" " * (4 - indent) + line if line and indent and own >= indent else line)
    return "\n".join(lines)
