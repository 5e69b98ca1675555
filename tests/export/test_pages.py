"""`ganvas export --to html`: a page that makes the command line's images, without any network."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from ganvas.data.dataset import Dataset
from ganvas.evaluation.extractors import find_extractor
from ganvas.export import export as export_module
from ganvas.export import page_file
from ganvas.export.export import export
from ganvas.runs.run import Run
from ganvas.runs.weights import (
    open_generator,
    read_weights,
    shipped_generators,
    write_safetensors,
)
from ganvas.sampling.latents import latents
from ganvas.sampling.samples import sample

CHROMIUM = "/usr/bin/chromium"
ASSETS = Path(page_file.__file__).parents[1] / "assets"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    export("digits", "html", folder / "digits.html")
    return folder


@pytest.fixture(scope="module")
def address(pages: Path) -> Iterator[str]:
    """The address of a static server of the pages."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(pages)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens a page and waits for its first picture. In the end, nothing was printed
    to its console, and nothing was asked for but the page."""
    troubles: list[str] = []
    contexts = []

    def open_page(url: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        asked = url.partition("#")[0]

        def watch(request: Any) -> None:
            if request.url.partition("#")[0] != asked and not request.url.startswith("data:"):
                troubles.append(request.url)

        page.on("request", watch)
        page.goto(url)
        page.wait_for_selector("#picture[data-drawn]", timeout=60_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def until(page: Page, condition: str) -> None:
    """Wait until a condition holds. Playwright's own way needs eval in the page, whose policy
    forbids it."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came: {condition}")


def digits(**request: Any) -> np.ndarray[Any, Any]:
    """Return the images that `ganvas sample digits` makes."""
    return sample(open_generator(shipped_generators()["digits"])[0], **request).images


def made(page: Page, request: str) -> np.ndarray[Any, Any]:
    """Return the images (N, H, W, C) of a request to `window.ganvas.sample`."""
    done = page.evaluate(
        f"ganvas.sample({request}).then(made => ({{...made, images: made.images.map(each =>"
        " [...each])}))"
    )
    shape = (-1, done["height"], done["width"], done["channels"])
    return np.array(done["images"], np.uint8).reshape(shape)


class TestPage:
    @pytest.mark.parametrize("scheme", ["file", "http"])
    def test_its_images_are_those_of_the_command_line(
        self, scheme: str, pages: Path, address: str, opened: Callable[..., Page]
    ) -> None:
        base = f"file://{pages}" if scheme == "file" else address
        page = opened(f"{base}/digits.html#labels=20231223&seed=5")
        assert page.input_value("#labels") == "20231223"
        expected = digits(labels="20231223", seed=5, n=96)
        images = made(page, "{labels: '20231223', seed: 5, n: 96}")
        assert images.shape == expected.shape
        assert abs(images.astype(int) - expected).max() <= 1

    def test_what_is_typed_is_what_is_read(self, pages: Path, opened: Callable[..., Page]) -> None:
        page = opened(f"file://{pages}/digits.html")
        typed = "".join(str(k) for k in np.random.default_rng(0).integers(0, 10, 100))
        page.fill("#labels", typed)
        until(page, "location.hash.includes('labels=" + typed + "')")
        images = made(page, f"{{labels: '{typed}'}}")
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        wanted = torch.tensor([int(each) for each in typed])
        made_up = Dataset("made", pixels, wanted, tuple("0123456789"))
        read = find_extractor("digits", made_up).take(pixels).probabilities
        assert read is not None
        assert int((read.argmax(1) == wanted).sum()) >= 95

    def test_its_latents_are_pythons_to_the_bit(
        self, pages: Path, opened: Callable[..., Page]
    ) -> None:
        page = opened(f"file://{pages}/digits.html")
        script = (ASSETS / "page/latents.js").read_text().replace("export ", "")
        for seed, index, size in ((0, 0, 8), (2**64 - 1, 2**40, 6), (7, 3, 1424)):
            mine = page.evaluate(f"{{{script}; [...latents([{index}], {seed}n, {size})]}}")
            ours = latents([index], seed, size)[0]
            np.testing.assert_array_max_ulp(np.array(mine, np.float32), ours, 1)
            assert np.mean(np.array(mine, np.float32) == ours) > 0.99

    def test_the_address_keeps_what_is_seen(self, pages: Path, opened: Callable[..., Page]) -> None:
        page = opened(f"file://{pages}/digits.html#labels=42&seed=7&variations=3&truncation=0.5")
        assert [page.input_value(f"#{name}") for name in ("labels", "seed", "variations")] == [
            "42",
            "7",
            "3",
        ]
        assert page.evaluate("[picture.width, picture.height]") == [2 * 28, 3 * 28]
        page.fill("#seed", "8")
        until(page, "location.hash === '#labels=42&seed=8&variations=3&truncation=0.5'")
        link = page.url
        again = opened(link)
        seen = [each.evaluate("picture.toDataURL()") for each in (page, again)]
        assert seen[0] == seen[1]

    @pytest.mark.parametrize(
        ("request_", "problem"),
        [
            ("{labels: '12x'}", "12x"), ("{labels: 'a'}", "a"), ("{labels: '1', n: 0}", "0"),
            ("{labels: '12', n: 3}", "3"), ("{labels: '1', n: 1001}", "1001"),
            ("{labels: '3x2000'}", "3x2000"),
        ],
    )  # fmt: skip
    def test_a_request_that_it_cannot_fulfil_is_rejected(
        self, request_: str, problem: str, pages: Path, opened: Callable[..., Page]
    ) -> None:
        page = opened(f"file://{pages}/digits.html")
        told = page.evaluate(f"ganvas.sample({request_}).catch(error => error.message)")
        assert told in (problem, "x")

    def test_by_keyboard_in_two_languages_on_a_phone(
        self, pages: Path, opened: Callable[..., Page]
    ) -> None:
        page = opened(
            f"file://{pages}/digits.html#labels=20231223&seed=5",
            viewport={"width": 360, "height": 640},
            locale="zh-CN",
        )
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        assert page.inner_text("#another") == "换一组"
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        names = []
        for _ in range(8):
            page.keyboard.press("Tab")
            names.append(page.evaluate("document.activeElement.id"))
        row = ["seed", "variations", "truncation", "another", "play", "download"]
        assert names == ["language", "labels", *row]
        page.focus("#language")
        page.keyboard.press("Enter")
        assert page.inner_text("#another") == "Another"
        page.focus("#labels")
        page.keyboard.press("End")
        page.keyboard.type("?")
        until(page, "problem.textContent === 'No class “?”'")
        page.keyboard.press("Backspace")
        until(page, "problem.textContent === ''")

    def test_playing_goes_to_the_next_seeds_and_the_png_is_what_is_seen(
        self, pages: Path, opened: Callable[..., Page], tmp_path: Path
    ) -> None:
        page = opened(f"file://{pages}/digits.html#labels=12&seed=5")
        first = page.evaluate("picture.toDataURL()")
        page.click("#play")
        until(page, "BigInt(seed.value) >= 6n")
        page.click("#play")
        until(page, "play.textContent === 'Play'")
        page.fill("#seed", "5")
        until(page, f"picture.toDataURL() === '{first}'")
        with page.expect_download() as download:
            page.click("#download")
        assert download.value.suggested_filename == "12-5.png"
        download.value.save_as(tmp_path / "12.png")
        with Image.open(tmp_path / "12.png") as image:
            shown = np.asarray(image.convert("L"))
        expected = np.hstack(digits(labels="12", seed=5))[:, :, 0]
        assert abs(shown.astype(int) - expected).max() <= 1


class TestFile:
    def test_it_is_small_and_asks_for_nothing(self, pages: Path) -> None:
        page = (pages / "digits.html").read_text(encoding="utf-8")
        assert len(page.encode()) < page_file.LARGE_PAGE == 8_000_000
        assert "default-src 'none'" in page
        assert "unsafe-eval'" not in page.replace("'wasm-unsafe-eval'", "")
        assert not re.search(r"<(?:link|img|script)[^>]+(?:src|href)=", page)

    def test_what_is_vendored_is_what_was_published(self) -> None:
        folder = ASSETS / "onnxruntime-web"
        told = (folder / "README.md").read_text()
        for content in (
            (folder / "ort.wasm.bundle.min.mjs").read_bytes(),
            gzip.decompress((folder / "ort-wasm-simd-threaded.wasm.gz").read_bytes()),
        ):
            assert hashlib.sha256(content).hexdigest() in told
        assert "Copyright (c) Microsoft Corporation" in (folder / "LICENSE").read_text()

    def test_the_size_of_a_large_page_is_told(
        self, tiny_run: Run, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(export_module, "LARGE_PAGE", 4_000_000)
        done = cli_run("export", tiny_run.path, "--to", "html", "--out", "page.html")
        assert re.fullmatch(r"note: the page has 5\.\d MB, most of it weights\n", done.err)
        assert done.out.startswith("page.html\n")

    def test_class_names_are_text(
        self, tiny_run: Run, tmp_path: Path, opened: Callable[..., Page]
    ) -> None:
        """Names of strangers' folders are no markup."""
        tensors, card = read_weights(tiny_run.generator_file)
        names = ("</script><b id=evil>", "a'b\"", "&lt;", *"3456789")
        image = replace(card.image, classes=names)
        write_safetensors(tmp_path / "g.safetensors", tensors, replace(card, image=image).to_json())
        export(tmp_path / "g.safetensors", "html", tmp_path / "page.html")
        page = opened(f"file://{tmp_path}/page.html")
        assert page.evaluate("ganvas.card.image.classes") == list(names)
        assert page.locator("#evil").count() == 0
        assert page.locator("#classes button").all_inner_texts() == list(names)
        assert page.inner_text("#labels-word") == "Classes"
        page.click("#classes button:nth-child(5)")  # beside the class of the beginning
        until(page, "picture.width === 2 * 28 && labels.value.endsWith(',4')")
        page.fill("#labels", "7x1")
        page.fill("#variations", "12")  # of one class, side by side
        until(page, "picture.width === 8 * 28 && picture.height === 2 * 28")

    def test_an_older_generator_s_other_images_are_told(
        self, tiny_run: Run, tmp_path: Path, cli_run: Callable[..., Any]
    ) -> None:
        tensors, card = read_weights(tiny_run.generator_file)
        write_safetensors(
            tmp_path / "g.safetensors", tensors, replace(card, latent_draw=1).to_json()
        )
        done = cli_run("export", "g.safetensors", "--to", "html")
        assert done.err.startswith("note: this generator draws latents in an older way")
        assert '"latent_draw":2' in (tmp_path / "g.html").read_text()
