"""A hook of mkdocs: formulas become MathML when the site is built, and browsers draw them without a script."""

import html
import re

from latex2mathml.converter import convert

# What pymdownx.arithmatex leaves of $...$ and $$...$$.
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """The page with its formulas drawn."""
    return _FORMULA.sub(_draw, content)


def _draw(found: re.Match[str]) -> str:
    # Of the alphabets of MathML, browsers know none; the set of real numbers is a letter of its own.
    tag, source = found[1], html.unescape(found[2]).replace(r"\mathbb R", "ℝ")
    formula = convert(source, display="block" if tag == "div" else "inline")
    # A long one is scrolled on a phone, by keyboard, too.
    return f'<{tag} class="formula"{" tabindex=0" if tag == "div" else ""}>{formula}</{tag}>'
