"""The registry of GANs: every file in this folder is one GAN. A file anywhere else works the same,
given by its path."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from ganvas import data
from ganvas.data.kinds import is_picture_source
from ganvas.errors import SettingError, nearest
from ganvas.gan import GanFile
from ganvas.recipe import Recipe


def gan_names() -> list[str]:
    """The names of the built-in GANs, sorted: file names with hyphens."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def load_gan(name: str) -> GanFile:
    """Load a built-in GAN by name, or a user's file by its path.

    A file is executed, so its path must come from the user. Raises SettingError for an unknown
    name, a missing file, or a file without Config, build and RECIPES.
    """
    if not name.endswith(".py"):
        if name not in gan_names():
            raise SettingError(f"unknown GAN {name}: {nearest(name, gan_names())}")
        return _gan_file(importlib.import_module(f"{__name__}.{name.replace('-', '_')}"), name, "")
    path = Path(name)
    if not path.is_file():
        raise SettingError(
            f"no GAN file {name}: give the path of a .py file with Config, build and RECIPES"
        )
    spec = importlib.util.spec_from_file_location(f"ganvas_file_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return _gan_file(module, path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def _gan_file(module: ModuleType, name: str, sha256: str) -> GanFile:
    missing = [part for part in ("Config", "build", "RECIPES") if not hasattr(module, part)]
    if missing:
        raise SettingError(
            f"GAN file {name} lacks {', '.join(missing)}: it needs Config, build(config, spec) and"
            " RECIPES"
        )
    recipes = module.RECIPES.values() if isinstance(module.RECIPES, dict) else ()
    if not recipes or not all(isinstance(recipe, Recipe) for recipe in recipes):
        raise SettingError(
            f"GAN file {name}: RECIPES must be a dict of at least one ganvas.recipe.Recipe"
        )
    if not callable(module.build) or len(inspect.signature(module.build).parameters) != 2:
        raise SettingError(f"GAN file {name}: build must be a function of (config, spec)")
    return GanFile(name, module.Config, module.RECIPES, module.build, sha256)


# Pictures up to this side are learned better by r3gan/images, which sees seven times as many of
# them in the same time (docs/log.md).
TINY_SIDE = 32


def default_recipe(what: str | None, sides: tuple[int, int] | None = None) -> str:
    """The recipe for data if the user names none.

    what: the data's name or path.
    sides: height and width of the images; None if they are not known yet.
    """
    if what in ("stacked-mnist", "stacked-mnist-5k"):
        return "r3gan/stacked-mnist"
    if what is None or what in data.NAMES or not is_picture_source(what):
        return "r3gan/digits"
    small = sides is not None and max(sides) <= TINY_SIDE
    return "r3gan/images" if small else "projected/images"


def default_data(recipe: str | None) -> str:
    """The name of the data for a recipe if the user names none."""
    return "stacked-mnist" if recipe == "r3gan/stacked-mnist" else "mnist-5k"


def split_path(recipe: str) -> tuple[str, str | None]:
    """Split a recipe of a user's file into (path, key).

    "my_gan.py:tiny" -> ("my_gan.py", "tiny"), "my_gan.py" -> ("my_gan.py", None), and ("", None)
    for a recipe of a built-in GAN. The path may contain colons itself ("C:\\my_gan.py").
    """
    path, separator, key = recipe.rpartition(".py:")
    if separator and "/" not in key:
        return f"{path}.py", key
    return (recipe, None) if recipe.endswith(".py") else ("", None)


def find_recipe(recipe: str) -> tuple[str, GanFile, Recipe]:
    """Find "mlp/relu", "my_gan.py" (its first recipe) or "my_gan.py:tiny".

    Returns its full name, the GAN's file and the recipe. Raises SettingError for an unknown name,
    with the nearest one.
    """
    path, key = split_path(recipe)
    if path:
        file = load_gan(path)
        key = next(iter(file.recipes)) if key is None else key
        if key not in file.recipes:
            raise SettingError(f"{path} has no recipe {key}: {nearest(key, file.recipes)}")
        return f"{file.name}:{key}", file, file.recipes[key]
    gan, _, key = recipe.partition("/")
    if gan in gan_names():
        file = load_gan(gan)
        if key in file.recipes:
            return recipe, file, file.recipes[key]
    every = [f"{name}/{key}" for name in gan_names() for key in load_gan(name).recipes]
    raise SettingError(f"unknown recipe {recipe}: {nearest(recipe, every)}")
