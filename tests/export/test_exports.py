"""`ganvas export`: exported generators make the images of the run, in any tool that reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganvas import gans, objectives
from ganvas.errors import RunError
from ganvas.export import onnx_file
from ganvas.export.export import export, model_card
from ganvas.export.images_of import ImagesOf, inputs_of
from ganvas.export.onnx_file import write_onnx
from ganvas.gan import Gan
from ganvas.recipe import ImageSpec
from ganvas.runs.run import Run
from ganvas.runs.weights import read_weights, weights_sha256
from ganvas.sampling.model_card import ModelCard
from ganvas.sampling.onnx_sampler import OnnxSampler
from ganvas.sampling.sampler import Sampler
from helpers.common import MY_GAN, train

pytestmark = pytest.mark.usefixtures("steady")

GREY = ImageSpec(height=8, width=8, channels=1)


@pytest.fixture(scope="module")
def exported(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tiny_run.path, "onnx", tmp_path_factory.mktemp("export") / "tiny.onnx").path


def card_of(gan: Gan, image: ImageSpec) -> ModelCard:
    return ModelCard(
        recipe="mine/one",
        image=image,
        z_dim=gan.z_dim,
        conditional=gan.conditional,
        latent_draw=2,
        data="some",
        data_images=3,
    )


class Small(nn.Module):
    """A generator of 8x8 pixels around a function of its own."""

    def __init__(self, last: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.layer, self.last = spectral_norm(nn.Linear(4, 64)), last

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.layer(z)).view(-1, 1, 8, 8)


def sampler_of(generator: nn.Module) -> Sampler:
    return Sampler(Gan(generator, nn.Identity(), objectives.relativistic, 4), ())


class TestOnnx:
    @pytest.mark.parametrize("name", gans.gan_names())
    def test_every_gan_exports_for_any_number_of_images(self, name: str, tmp_path: Path) -> None:
        file = gans.load_gan(name)
        recipe = file.recipes["tiny"]
        gan = file.build(recipe.model, recipe.native, seed=3)
        sampler = Sampler(gan, recipe.native.classes)
        for weight in gan.generator.parameters():
            nn.init.normal_(weight, 0, 0.3)
        for _ in range(3):  # BatchNorm's statistics, which initially change nothing
            z = torch.randn(16, gan.z_dim)
            labels = torch.arange(16) % 10 if gan.conditional else None
            gan.make(z, labels)
        assert write_onnx(sampler, card_of(gan, recipe.native), tmp_path / "g.onnx") <= 1
        exported = OnnxSampler(tmp_path / "g.onnx")
        for indices in ([7], range(100)):
            made = exported(indices, seed=5)
            assert made.dtype == np.uint8
            assert abs(made.astype(int) - sampler(indices, seed=5).numpy()).max() <= 1
        assert len(np.unique(made)) > 10

    def test_the_file_stands_alone_and_tells_nothing_of_this_machine(self, exported: Path) -> None:
        model = onnx.load(exported, load_external_data=False)
        onnx.checker.check_model(model)
        (opset,) = model.opset_import
        assert (opset.domain, model.ir_version) == ("", 8)  # what opset 18 needs at least
        types = {each.name: each.type.tensor_type.elem_type for each in model.graph.input}
        assert types == {"latent": onnx.TensorProto.FLOAT, "label": onnx.TensorProto.INT64}
        (images,) = model.graph.output
        assert (images.name, images.type.tensor_type.elem_type) == ("images", 2)
        content = exported.read_bytes()
        folders = (Path(__file__).parents[2], Path(torch.__file__).parent, Path.home())
        assert not any(str(folder).encode() in content for folder in folders)
        assert b".py" not in content

    def test_the_card_says_what_using_it_needs(self, exported: Path, tiny_run: Run) -> None:
        (entry,) = onnx.load(exported).metadata_props
        card = json.loads(entry.value)
        assert entry.key == "ganvas"
        assert card["image"] == json.loads(tiny_run.card.to_json())["image"]
        assert (card["z_dim"], card["conditional"], card["latent_draw"]) == (8, True, 2)
        assert (card["recipe"], card["data"]) == ("cgan/tiny", "mnist-5k")
        assert card["data_images"] == 4000

    def test_licence_and_name_of_the_data_and_not_its_folder_are_told(
        self, tmp_path: Path, tiny_run: Run
    ) -> None:
        path = export(tiny_run.path, out=tmp_path / "g.onnx", licence="cc-by-4.0").path
        assert OnnxSampler(path).card.licence == "cc-by-4.0"
        sampler, card = tiny_run.generator()
        moved = card.data.__class__(
            **vars(card.data) | {"what": "/home/me/secret", "name": "secret"}
        )
        told = model_card(sampler, card.__class__(**vars(card) | {"data": moved}))
        assert "/home/me" not in told.to_json()
        assert told.data == "secret"

    def test_optimisation_that_changes_images_is_left_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried, graph = [], onnx_file._graph

        def folded_wrongly(sampler: Sampler, card: ModelCard, optimise: bool) -> bytes:
            tried.append(optimise)
            wrong = sampler_of(Small(lambda x: torch.tanh(x) * 0.9))
            wrong.gan.generator.load_state_dict(sampler.gan.generator.state_dict())
            return graph(wrong if optimise else sampler, card, optimise)

        monkeypatch.setattr(onnx_file, "_graph", folded_wrongly)
        sampler = sampler_of(Small())
        assert write_onnx(sampler, card_of(sampler.gan, GREY), tmp_path / "g.onnx") <= 1
        assert tried == [True, False]

    def test_other_images_than_torchs_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forward = ImagesOf.forward
        monkeypatch.setattr(
            ImagesOf, "forward", lambda self, latent: forward(self, latent).clamp(max=100)
        )
        sampler = sampler_of(Small())
        with pytest.raises(RunError) as caught:
            write_onnx(sampler, card_of(sampler.gan, GREY), tmp_path / "g.onnx")
        message = str(caught.value)
        assert "other images of this generator than torch" in message
        assert not list(tmp_path.iterdir())

    def test_norms_of_weights_are_folded(self, tmp_path: Path) -> None:
        sampler = sampler_of(Small())
        write_onnx(sampler, card_of(sampler.gan, GREY), tmp_path / "g.onnx")
        kinds = {node.op_type for node in onnx.load(tmp_path / "g.onnx").graph.node}
        assert kinds == {
            "Gemm",
            "Tanh",
            "Reshape",
            "Add",
            "Mul",
            "Round",
            "Clip",
            "Cast",
            "Transpose",
        }
        # the generator itself keeps its norm
        assert hasattr(sampler.gan.generator.layer, "parametrizations")

    @pytest.mark.parametrize(
        ("last", "words"),
        [
            (lambda x: torch.special.bessel_j0(x), "no operator for prims.bessel_j0"),
            (lambda x: torch.tanh(x) * len(x), "write z.shape[0] instead of len(z)"),
            (lambda x: torch.tanh(x) if x.sum() > 0 else x, "cannot be exported to ONNX"),
            (lambda x: x / 0, "pixels that are no numbers"),
        ],
        ids=["operator", "fixed batch", "branch", "no numbers"],
    )
    def test_generators_that_cannot_are_refused_by_name(
        self, last: Any, words: str, tmp_path: Path
    ) -> None:
        sampler = sampler_of(Small(last))
        with pytest.raises(RunError) as caught:
            write_onnx(sampler, card_of(sampler.gan, GREY), tmp_path / "g.onnx")
        message = str(caught.value)
        assert words in message
        assert "\n" not in message
        assert not list(tmp_path.iterdir())


class TestOtherFormats:
    def test_a_program_runs_in_torch_without_ganvas(self, tiny_run: Run, tmp_path: Path) -> None:
        path, furthest, _ = export(tiny_run.path, "torch-export", tmp_path / "g.pt2")
        assert furthest == 0
        extra = {"ganvas": ""}
        program = torch.export.load(path, extra_files=extra).module()
        sampler = tiny_run.sampler()
        z = inputs_of(sampler, 5)
        assert torch.equal(program(*z), sampler(range(5)))
        assert ModelCard.from_json(extra["ganvas"], "g.pt2").recipe == "cgan/tiny"

    def test_weights_are_those_of_the_run(self, tiny_run: Run, tmp_path: Path) -> None:
        path, furthest, _ = export(tiny_run.path, "safetensors", tmp_path / "g.safetensors")
        assert furthest is None
        tensors, card = read_weights(path)
        assert weights_sha256(tensors) == tiny_run.generator_card().weights_sha256
        assert card.recipe == "cgan/tiny"


class TestCommand:
    def test_a_generator_of_a_file_of_ones_own(
        self, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        (tmp_path / "my_gan.py").write_text(MY_GAN)
        np.savez(tmp_path / "data.npz", images=np.zeros((9, 8, 8), np.uint8))
        train(str(tmp_path / "my_gan.py:one"), tmp_path / "run", images=64.0, data="data.npz")
        result = cli_run("export", "run", "--gan", "my_gan.py")
        assert result.code == 0
        assert result.out.splitlines() == ["run.onnx", "largest difference from torch: 0 of 255"]
        assert cli_run("sample", "run.onnx", "--n", 3, "--out", "three.npz").code == 0
        assert "--gan PATH/my_gan.py" in cli_run("export", "run").error

    def test_sampling_needs_no_torch_and_makes_the_runs_images(
        self, exported: Path, tiny_run: Run, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        import subprocess
        import sys

        arguments = ["--labels", "20231223", "--seed", "5", "--out"]
        code = (
            "import sys; from ganvas import cli\n"
            "try: cli.main(sys.argv[1:])\n"
            "except SystemExit as done: assert not done.code, done.code\n"
            "assert 'torch' not in sys.modules"
        )
        for source, out in ((exported, "onnx.npz"), (tiny_run.path, "run.npz")):
            words = ["sample", str(source), *arguments, out]
            program = code if source == exported else "from ganvas import cli; cli.main()"
            subprocess.run(
                [sys.executable, "-c", program, *words], cwd=tmp_path, env=environment, check=True
            )
        with np.load(tmp_path / "onnx.npz") as one, np.load(tmp_path / "run.npz") as other:
            assert abs(one["images"].astype(int) - other["images"]).max() <= 1
            assert one["labels"].tolist() == other["labels"].tolist() == [2, 0, 2, 3, 1, 2, 2, 3]
            assert one["classes"].tolist() == list("0123456789")

    def test_evaluating_it_gives_the_figures_of_the_run(
        self, exported: Path, tiny_run: Run, cli_run: Callable[..., Any]
    ) -> None:
        options = ("--n", 200, "--prdc-n", 100, "--json")
        mine, runs = (
            json.loads(cli_run("evaluate", source, *options).out)
            for source in (exported, tiny_run.generator_file)
        )
        assert mine["fid"] == pytest.approx(runs["fid"], rel=0.02)
        assert mine["protocol"] == runs["protocol"]

    def test_the_shipped_generator_exports_under_its_name(
        self, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        assert cli_run("export", "digits", "--to", "torch-export").out.startswith("digits.pt2\n")
        assert (tmp_path / "digits.pt2").is_file()
