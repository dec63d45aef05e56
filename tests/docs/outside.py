#!/usr/bin/env python3
"""For mdbook: a link out of docs/ leads nowhere in a book, so it becomes the file's path in the repository; and the
page README.md is index.html there, to which mdbook does not make links lead."""
import json
import os
import re
import sys

LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def inside(content, folder):
    def replace(link):
        words, target, heading = link.groups()
        path = os.path.normpath(os.path.join("docs", folder, target))
        if "://" in target or path.startswith("docs/"):
            at, name = os.path.split(target)
            target = os.path.join(at, "index.md") if name == "README.md" else target
            return f"[{words}]({target}{heading or ''})"
        plain = words.replace("../", "").strip("`")
        return f"`{path}`" if path.startswith(plain) else f"{words} (`{path}`)"

    return LINK.sub(replace, content)


def chapters(items):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            yield chapter
            yield from chapters(chapter["sub_items"])


if sys.argv[1:2] == ["supports"]:
    sys.exit(sys.argv[2] != "html")
_, book = json.load(sys.stdin)
for chapter in chapters(book["items"]):
    chapter["content"] = inside(chapter["content"], os.path.dirname(chapter.get("path") or ""))
json.dump(book, sys.stdout)
