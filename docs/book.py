#!/usr/bin/env python3
"""Prepares the pages for mdBook, and checks the links of the book that it makes. scripts/docs calls both.

    docs/book.py stage DOCS DIRECTORY     copy the pages, with the files outside of docs/ that they link to
    docs/book.py check BOOK               report links of the built HTML that lead nowhere; exit 1 if there is one

In the repository a page may link to any file, such as ../wit/world.wit. A book has nothing outside of its own directory, so
such files are copied into it, at the same path below the repository's root, and the links are changed. A linked directory
gets an index of its files.
"""

import html
import html.parser
import pathlib
import posixpath
import re
import shutil
import subprocess
import sys
import urllib.parse

# A link that is not a URL and not only a fragment: [text](target#fragment).
LINK = re.compile(r"\]\((?P<target>[^)#:\s]+)(?P<fragment>#[^)\s]*)?\)")


def tracked(root, path):
    """Files of the repository at or below a path, relative to its root; also those not yet committed."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", path]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted({name for name in listed.split("\0") if name and (root / name).is_file()})


def directory_index(path, files):
    """A page that lists a directory's files."""
    items = "\n".join(
        f'<li><a href="{html.escape(posixpath.relpath(name, path))}">{html.escape(posixpath.relpath(name, path))}</a></li>'
        for name in files
    )
    title = html.escape(path)
    return f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n{items}\n</ul>\n'


def stage(docs, directory):
    """Copy the pages of `docs` and what they link to into the empty `directory`. Returns an exit code."""
    root = docs.resolve().parent
    source = directory / "src"
    shutil.copytree(docs, source, ignore=shutil.ignore_patterns("book.toml", "book.py"))
    shutil.copy(docs / "book.toml", directory / "book.toml")
    missing = unlisted(source)
    for page in missing:
        print(f"docs: {docs.name}/{page} is not in SUMMARY.md, so the book would not have it", file=sys.stderr)
    if missing:
        return 1
    for page in sorted(source.rglob("*.md")):
        where = page.relative_to(source).parent

        def inside(match):
            target = match["target"]
            # The target from the repository's root: docs/ is one level below it.
            path = posixpath.normpath(posixpath.join(docs.name, where.as_posix(), target))
            if path == docs.name or path.startswith(docs.name + "/") or path.startswith(".."):
                # mdBook turns a README.md into index.html, but not the links to it.
                if page.name != "SUMMARY.md" and posixpath.basename(target) == "README.md":
                    return match[0].replace("README.md", "index.md", 1)
                return match[0]
            files = tracked(root, path)
            for name in files:
                copy = source / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                if not copy.exists():
                    shutil.copyfile(root / name, copy)
            if (root / path).is_dir():
                (source / path / "index.html").write_text(directory_index(path, files), encoding="utf-8")
                path += "/index.html"
            return "](" + posixpath.relpath(path, where.as_posix()) + (match["fragment"] or "") + ")"

        text = page.read_text(encoding="utf-8")
        page.write_text(LINK.sub(inside, text), encoding="utf-8")
    return 0


def unlisted(source):
    """Pages that SUMMARY.md does not list: mdBook leaves those out without a word."""
    summary = (source / "SUMMARY.md").read_text(encoding="utf-8")
    listed = {match["target"] for match in LINK.finditer(summary)} | {"SUMMARY.md"}
    pages = {page.relative_to(source).as_posix() for page in source.rglob("*.md")}
    return sorted(pages - listed)


class Page(html.parser.HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self):
        super().__init__()
        self.links = []
        self.ids = set()

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def check(book):
    """The links of a built book that lead nowhere, as lines to print."""
    pages = {}

    def page(path):
        if path not in pages:
            parsed = Page()
            parsed.feed(path.read_text(encoding="utf-8"))
            pages[path] = parsed
        return pages[path]

    dead = []
    found = sorted(book.rglob("*.html"))
    # 404.html is shown at any address, so its links begin at the site's root.
    for path in (path for path in found if path.name != "404.html"):
        for link in page(path).links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = path.parent / urllib.parse.unquote(url.path) if url.path else path
            target = target.resolve()
            if not target.is_file() or not target.is_relative_to(book.resolve()):
                dead.append(f"{path.relative_to(book)} links to {link}, which does not exist")
            elif url.fragment and target.suffix == ".html":
                if urllib.parse.unquote(url.fragment) not in page(target).ids:
                    dead.append(f"{path.relative_to(book)} links to {link}, but nothing on that page has this id")
    return len(found), dead


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "stage":
        return stage(pathlib.Path(arguments[1]), pathlib.Path(arguments[2]))
    if len(arguments) == 2 and arguments[0] == "check":
        book = pathlib.Path(arguments[1])
        pages, dead = check(book)
        for line in dead:
            print(f"docs: {line}", file=sys.stderr)
        if pages == 0:
            print(f"docs: there is no page in {book}", file=sys.stderr)
        return 1 if dead or pages == 0 else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
