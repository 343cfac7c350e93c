r"""Mathematics as MathML, written when the page is built: a browser needs neither a script nor a font of ours.

What the converter does not know stops the build.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.logging import getLogger

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_LOG = getLogger(__name__)
_SIZES = re.compile(r"\\([bB]igg?[lrm]?|textstyle|displaystyle)(?![a-zA-Z])")
_SYNONYMS = {r"\dots": r"\ldots", r"\dotsc": r"\ldots"}


def converted(source: str, *, display: bool = False) -> str:
    r"""Return LaTeX mathematics as a MathML element, with its source beside it for those who copy or listen.

    Sizes are left to the browser, which stretches brackets itself.

    Raises
        docutils.utils.math.MathError, if a command is not known.

    >>> converted(r"\theta").startswith("<math")
    True
    """
    plain = _SIZES.sub("", source)
    for name, known in _SYNONYMS.items():
        plain = re.sub(re.escape(name) + r"(?![a-zA-Z])", lambda _, known=known: known, plain)
    found = tex2mathml(plain, as_block=display)
    return found.replace("<math", f'<math alttext="{escape(" ".join(source.split()))}"', 1)


def _written(translator: Any, node: nodes.Element, *, display: bool) -> str:
    try:
        return converted(node.astext(), display=display)
    except MathError as error:
        _LOG.warning("no MathML of %r: %s", node.astext(), error, location=node)
        return f"<code>{escape(node.astext())}</code>"


def _inline(translator: Any, node: nodes.Element) -> None:
    translator.body.append(_written(translator, node, display=False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.Element) -> None:
    translator.body.append(f'<div class="formula" tabindex="0">{_written(translator, node, display=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
