"""Verbs that say what there is: recipes, data, machine, speed."""

from __future__ import annotations

from ganvas.commands.options import (
    AS_THEY_ARE,
    Pictures,
    Settings,
    print_json,
    print_table,
    recipe_and_data,
)


def recipes(*, json: bool = False) -> None:
    """List the recipes that are built in.

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
    json: bool = False,
    data: str | None = None,
    set_: Settings = None,
    pictures: Pictures = AS_THEY_ARE,
) -> None:
    """Print a recipe's resolved settings and the layers of its networks, with shapes and parameter
    counts.

    Parameters
    ----------
    recipe
        A recipe's name or a GAN file.
    json
        Print one JSON document.
    data
        Shape the networks for this data set, instead of the recipe's native images.
    set_
        Change settings: path=value ...
    """
    from ganvas.views import recipe_summary as showing

    name, file, changed, spec, _ = recipe_and_data(recipe, data, set_, pictures)
    summary = showing.summarise(name, file, changed, spec)
    if json:
        print_json(summary.to_json())
    else:
        print(summary.to_text())
