"""Export a run's generator, or a generator's file, to the files of other tools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from ganvas.errors import SettingError
from ganvas.export.onnx_file import write_onnx
from ganvas.export.page_file import LARGE_PAGE, write_page
from ganvas.export.program_file import write_program
from ganvas.runs.card import Card
from ganvas.runs.run import Run
from ganvas.runs.weights import locate_generator, open_generator, read_weights, write_safetensors
from ganvas.sampling.latents import LATENT_DRAW
from ganvas.sampling.model_card import ModelCard
from ganvas.sampling.sampler import Sampler
from ganvas.system import files

Format = Literal["onnx", "html", "torch-export", "safetensors"]
ENDING_OF: dict[Format, str] = {
    "onnx": ".onnx",
    "html": ".html",
    "torch-export": ".pt2",
    "safetensors": ".safetensors",
}
OTHER_IMAGES = (
    "this generator draws latents in an older way, which a page cannot: image k of a seed is"
    " another one in the page than in ganvas sample"
)


class Exported(NamedTuple):
    """A file that was written.

    difference: by how much its images differ from the run's, of 255; None of weights alone.
    notes: what the user should know of it.
    """

    path: Path
    difference: int | None
    notes: tuple[str, ...] = ()


def export(
    source: str | Path,
    to: Format = "onnx",
    out: str | Path | None = None,
    *,
    gan: str | None = None,
    licence: str = "",
) -> Exported:
    """Write a generator to a file that other tools read.

    source: a run's directory, a generator.safetensors, or the name of a shipped generator.
    to: onnx, a graph for onnxruntime in any language; html, a page that makes images in any
        browser; torch-export, a program for torch without ganvas; safetensors, the weights and
        their card.
    out: the file. Default: the source's name with the format's ending, in the current folder.
    gan: the user's GAN file, if the generator is of one.
    licence: of the weights, for the card, such as "apache-2.0".
    Raises RunError for a source that is missing or damaged and for a generator that the format
    cannot express, SettingError for another ending, MissingExtraError without ganvas[export].
    """
    path = Path(f"{Path(source).resolve().name.removesuffix('.safetensors')}{ENDING_OF[to]}")
    path = path if out is None else Path(out)
    files.refuse_ending(path, f"--to {to} makes a file", ENDING_OF[to])
    files.refuse_unwritable(path)
    source = locate_generator(Path(source))
    run = Run.open(source, gan=gan) if source.is_dir() else None
    if to == "safetensors":
        if licence:
            raise SettingError(f"--licence {licence}: weights keep the run's card; leave it out")
        tensors, card = read_weights(run.generator_file if run else source)
        write_safetensors(path, tensors, card.to_json())
        return Exported(path, None)
    sampler, card = run.generator() if run else open_generator(source, gan)
    write = {"onnx": write_onnx, "html": write_page, "torch-export": write_program}[to]
    described, notes = model_card(sampler, card, licence), []
    if to == "html" and card.latent_draw != LATENT_DRAW:
        described = replace(described, latent_draw=LATENT_DRAW)
        notes.append(OTHER_IMAGES)
    furthest = write(sampler, described, path)
    if to == "html" and (size := path.stat().st_size) > LARGE_PAGE:
        notes.append(f"the page has {size / 1e6:.1f} MB, most of it weights")
    return Exported(path, furthest, tuple(notes))


def model_card(sampler: Sampler, card: Card, licence: str = "") -> ModelCard:
    """Return the card of an exported generator, which tells no folder of this machine."""
    return ModelCard(
        recipe=card.recipe,
        image=card.image,
        z_dim=sampler.gan.z_dim,
        conditional=sampler.gan.conditional,
        latent_draw=card.latent_draw,
        data=card.data.name,
        data_images=card.data.images,
        licence=licence,
        versions={
            name: card.versions[name] for name in ("ganvas", "torch") if name in card.versions
        },
    )
