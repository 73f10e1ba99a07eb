"""
HTML that cannot be broken out of: text becomes markup in one function, which escapes whatever is not markup already.

A template engine with automatic escaping would be a dependency for what `html.escape` and one type do.
"""

from html import escape

from autoresearch.report.text import clean

VOID = {"meta", "br", "hr"}


class Html(str):
    """Markup of ours. Only `tag` and `join` make it; everything in it that came from elsewhere is escaped."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """
    An element. Content that is no Html is escaped, and so is every attribute's value; `class_` is written as `class`,
    `data_x` as `data-x`, True as an attribute without a value, and None leaves it out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{escape(clean(str(value)), quote=True)}"')
    opening = " ".join(words)
    inside = join(content)
    return Html(f"<{opening}>" if name in VOID and not inside else f"<{opening}>{inside}</{name}>")


def join(parts: object) -> Html:
    """Parts one after another, each cleaned and escaped if it is no markup; lists inside are taken apart."""
    if isinstance(parts, Html):
        return parts
    if isinstance(parts, list | tuple):
        return Html("".join(join(part) for part in parts))
    return Html("" if parts is None else escape(clean(str(parts)), quote=True))
