"""`ganvas show` and `ganvas recipes`."""

from __future__ import annotations

from ganvas.commands.options import (
    Settings,
    prepare_recipe,
    print_json,
    print_table,
)
from ganvas.data.reading import AS_STORED, Reading


def recipes(*, json: bool = False) -> None:
    """List the built-in recipes.

    Parameters
    ----------
    json
        Print one JSON document.
    """
    from ganvas import gans

    rows = [
        {
            "recipe": f"{name}/{key}",
            "summary": recipe.summary,
            "native": str(recipe.native),
            "length": recipe.train.length,
        }
        for name in gans.gan_names()
        for key, recipe in gans.load_gan(name).recipes.items()
    ]
    if json:
        print_json(rows)
        return
    print_table(
        ["recipe", "native images", "length", ""],
        [[r["recipe"], r["native"], r["length"], r["summary"]] for r in rows],
    )


def show(
    recipe: str = "r3gan/digits",
    /,
    *,
    data: str | None = None,
    set_: Settings = None,
    reading: Reading = AS_STORED,
    json: bool = False,
) -> None:
    """Print a recipe's settings and the layers of its networks, with shapes and parameter counts.

    Parameters
    ----------
    recipe
        A recipe's name or a GAN file.
    data
        A data set to build the networks for. Default: the recipe's native images.
    set_
        Change settings of the recipe: path=value ...
    json
        Print one JSON document.
    """
    from ganvas.views.recipe_summary import summarise

    summary = summarise(prepare_recipe(recipe, data, set_, reading))
    if json:
        print_json(summary.to_json())
    else:
        print(summary.to_text())
