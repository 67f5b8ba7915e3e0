"""An Atom feed (RFC 4287): pure, so that any Python can test it."""

from dataclasses import asdict, dataclass
from html import escape


@dataclass
class Entry:
    """One publication."""

    id: str
    title: str
    updated: str
    text: str


def add(entries: list[dict], entry: Entry, keep: int) -> list[dict]:
    """The entries with one more, newest first. An entry that is there already keeps its place."""
    if any(known["id"] == entry.id for known in entries):
        return entries
    return [asdict(entry), *entries][:keep]


def render(url: str, title: str, updated: str, entries: list[dict]) -> str:
    """The feed's document."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"  <title>{escape(title)}</title>",
        f"  <id>{escape(url)}</id>",
        f'  <link rel="self" href="{escape(url)}"/>',
        f"  <updated>{escape(updated)}</updated>",
        "  <author><name>Foundry</name></author>",
    ]
    for entry in entries:
        lines += [
            "  <entry>",
            f"    <title>{escape(entry['title'])}</title>",
            f"    <id>urn:foundry:{escape(entry['id'])}</id>",
            f"    <updated>{escape(entry['updated'])}</updated>",
            f'    <content type="text">{escape(entry["text"])}</content>',
            "  </entry>",
        ]
    return "\n".join([*lines, "</feed>", ""])
