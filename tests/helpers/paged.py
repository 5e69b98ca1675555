"""Helpers of tests of the report: a parsed page, and made-up evaluations."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shlex
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image

from ganvas.evaluation.result import Copies, EvaluationResult, Protocol, RepeatOptions, Scores
from ganvas.runs.run import Run

SECTIONS = [
    "samples",
    "curves",
    "report-card",
    "copy-check",
    "doctor",
    "recipe",
    "data",
    "environment",
    "repeat",
]
VOID = {"meta", "img", "br"}
PROTOCOL = Protocol(
    extractor="digits",
    extractor_sha256="a" * 64,
    n_real=1000,
    n_fake=500,
    n_prdc=400,
    k=5,
    split="test",
    resize="none",
    data="mnist-5k",
    real_sha256="b" * 64,
    seed=3,
    versions={"torch": "2.6"},
)
COPIES = Copies(
    verdict="not a copier",
    ratio=0.98765,
    spread=0.0123,
    share=0.011,
    share_held_out=0.002,
    nearest_training=3.0,
    nearest_held_out=3.1,
    n_fake=500,
    n_training=4000,
    n_held_out=1000,
    space="pixels at 28x28",
    sheet="run/copies.png",
)


class Page(HTMLParser):
    """A parsed page: every element with its attributes, and the text of each section by its id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.open, self.elements = (
            html,
            list[str](),
            list[tuple[str, dict[str, str | None]]](),
        )
        self.sections: dict[str, str] = {}
        self.section, self.style = "", ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("section", "header"):
            self.section = dict(attrs).get("id") or tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.sections[self.section] = self.sections.get(self.section, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def charts(self) -> list[str]:
        """The descriptions of the charts."""
        return [i["alt"] or "" for i in self.all("img") if "svg+xml" in (i["src"] or "")]

    @property
    def photos(self) -> list[dict[str, str | None]]:
        """The pictures that are no charts."""
        return [image for image in self.all("img") if "svg+xml" not in (image["src"] or "")]

    @property
    def commands(self) -> list[list[str]]:
        found = re.findall(r'<pre class="command"><code>(.*?)</code>', self.html, re.DOTALL)
        return [
            shlex.split(text.replace("&#39;", "'").replace("&#34;", '"').replace("&amp;", "&"))
            for text in found
        ]


def page(path: Path) -> Page:
    """Parse a page and check what holds for all: it loads and runs nothing, and its pictures are
    embedded and described."""
    html = path.read_text()
    found = Page(html)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "image",
        "use",
        "a",
    }
    assert [element["id"] for element in found.all("section")] == SECTIONS
    for tag, attrs in found.elements:
        assert not any(
            name.startswith("on") or name in ("style", "srcset", "href") for name in attrs
        ), (tag, attrs)
        for name, value in attrs.items():
            if name not in ("alt", "aria-label"):
                assert "//" not in (value or "").partition("base64,")[0], (tag, name)
    assert "url(" not in found.style
    assert "@import" not in found.style
    for image in found.all("img"):
        kind, data = re.fullmatch(
            r"data:image/(png|jpeg|svg\+xml);base64,([A-Za-z0-9+/=]+)", image["src"] or ""
        ).groups()  # type: ignore[union-attr]
        content = base64.b64decode(data)
        size = (int(image["width"] or 0), int(image["height"] or 0))
        assert image["alt"]
        if kind == "svg+xml":
            assert ET.fromstring(content).get("viewBox") == f"0 0 {size[0]} {size[1]}"
            assert not re.search(rb"<script|<image|@import|url\((?!#)|href=\"(?!#)", content)
            continue
        with Image.open(io.BytesIO(content)) as picture:
            assert (picture.format, picture.size) == (kind.upper(), size)
    policy = next(
        m["content"] or ""
        for m in found.all("meta")
        if m.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(found.style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert f"style-src 'sha256-{digest}'" in policy
    assert path.stat().st_size < 5_000_000
    return found


def judgement(run: Run, **changes: Any) -> EvaluationResult:
    fields: dict[str, Any] = {
        "source": "run",
        "kind": "run",
        "fid": 1.2345,
        "kid": 0.25,
        "kid_std": 0.125,
        "precision": 0.61234,
        "floor": Scores(fid=0.7531),
        "protocol": PROTOCOL,
        "weights_sha256": run.generator_card().weights_sha256,
        "asked": RepeatOptions(options=("--n", "500", "--data", "a b")),
        "label_accuracy": 0.9,
        "per_class": {"3": 0.5, "7": 0.975},
        "notes": ("rough: few images",),
    }
    return EvaluationResult(**(fields | changes))


def put(run: Run, verdict: EvaluationResult, images: int | None = None) -> None:
    line = json.loads(verdict.to_json())
    run.append_metrics(
        json.dumps(line if images is None else {"images": images, "cost_seconds": 1.0, **line})
    )
