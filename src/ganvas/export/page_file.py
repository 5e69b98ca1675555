"""A generator as one page: an .html that makes images in any browser, without server or network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import tempfile
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from ganvas.export.onnx_file import write_onnx
from ganvas.sampling.model_card import ModelCard
from ganvas.sampling.sampler import Sampler
from ganvas.system import files

ASSETS = Path(__file__).parent.parent / "assets"
PAGE, RUNTIME = ASSETS / "page", ASSETS / "onnxruntime-web"
LIBRARY, WASM = RUNTIME / "ort.wasm.bundle.min.mjs", RUNTIME / "ort-wasm-simd-threaded.wasm.gz"
# In the order in which they need each other.
MODULES = ("latents.js", "labels.js", "generator.js", "words.js", "page.js")
LARGE_PAGE = 8 * 10**6  # bytes of a page that is worth a note
IMPORT = re.compile(r"^import .*?;\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?function|class|const)", re.MULTILINE)


def write_page(sampler: Sampler, card: ModelCard, path: Path) -> int:
    """Write a page with a generator, whole or not at all.

    Returns the largest difference of its graph's images from torch's, in levels of 255.
    Raises the errors of `write_onnx`.
    """
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "graph.onnx")
        furthest = write_onnx(sampler, card, graph)
        packed = gzip.compress(graph.read_bytes(), 9, mtime=0)
    files.write(path, _page(packed, card))
    return furthest


def _page(graph: bytes, card: ModelCard) -> str:
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    library, script = _library(), _script()
    scripts = " ".join(f"'sha256-{_sha256(text)}'" for text in (library, script))
    policy = (
        f"default-src 'none'; script-src {scripts} 'wasm-unsafe-eval';"
        f" style-src 'sha256-{_sha256(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    template = Template((PAGE / "page.html").read_text(encoding="utf-8"), autoescape=True)
    page: str = template.render(
        policy=Markup(policy),
        style=Markup(style),
        card=Markup(card.to_json().replace("<", "\\u003c")),
        graph=Markup(base64.b64encode(graph).decode()),
        runtime=Markup(base64.b64encode(WASM.read_bytes()).decode()),
        library=Markup(library),
        script=Markup(script),
    )
    return page


def _library() -> str:
    """Return onnxruntime-web as a script of the page itself, from which no module can import: what
    it exports becomes `globalThis.ort`."""
    text = LIBRARY.read_text(encoding="utf-8")
    text, _, _ = text.partition("\n//# sourceMappingURL=")
    body, _, names = text.rpartition("export{")
    pairs = [name.split(" as ") for name in names.rstrip("};\n ").split(",")]
    members = ",".join(f"{pair[-1]}:{pair[0]}" for pair in pairs)
    return f"{body}globalThis.ort={{{members}}};\n".replace("</script", "<\\/script")


def _script() -> str:
    """Return the page's modules as one script."""
    texts = [(PAGE / name).read_text(encoding="utf-8") for name in MODULES]
    return "\n".join(EXPORT.sub("", IMPORT.sub("", text)) for text in texts)


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
