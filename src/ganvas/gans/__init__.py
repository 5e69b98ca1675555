"""One file, one GAN: this folder is the registry. A file outside works the same, given by its path."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from ganvas import data
from ganvas.errors import SettingError, nearest
from ganvas.gan import GanFile
from ganvas.recipe import Recipe


def gan_names() -> list[str]:
    """The built-in GANs' names, sorted: those of their files, with hyphens."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def load_gan(name: str) -> GanFile:
    """A built-in GAN by name, or a file of the user's by its path, which is run (only ever at the
    user's own word).

    Raises SettingError for an unknown name, a missing file, or one without Config, build and
    RECIPES.
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


def default_recipe(what: str | None) -> str:
    """What to train on such data when no recipe is named: for pictures of people's own, the one
    made for any size."""
    own = (
        what is not None
        and what not in data.NAMES
        and (os.path.isdir(what) or what.lower().endswith((".zip", ".npz")))
    )
    if what in ("stacked-mnist", "stacked-mnist-5k"):
        return "r3gan/stacked-mnist"
    return "r3gan/images" if own else "r3gan/digits"


def default_data(recipe: str | None) -> str:
    """What to train a recipe on when no data are named: digits that are always there, stacked where
    it is made for stacks."""
    return "stacked-mnist" if recipe == "r3gan/stacked-mnist" else "mnist-5k"


def split_path(recipe: str) -> tuple[str, str | None]:
    """(path, key) of a recipe in a file of the user's: of "my_gan.py" no key, of "my_gan.py:tiny"
    "tiny"; ("", None) for one of a built-in GAN. The path may hold colons itself ("C:\\my_gan.py").
    """
    path, found, key = recipe.rpartition(".py:")
    if found and "/" not in key:
        return f"{path}.py", key
    return (recipe, None) if recipe.endswith(".py") else ("", None)


def find_recipe(recipe: str) -> tuple[str, GanFile, Recipe]:
    """(full name, GAN's file, recipe) of "mlp/relu", "my_gan.py" (its first recipe) or
    "my_gan.py:tiny".

    Raises SettingError for an unknown name, with the nearest one.
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
