"""The prior of a set travels with it, where it is none that ships.

It lies beside the shards as ``prior-DIGEST.npz``, DIGEST the first twelve digits of
what the recipe names. Shards, records and their digests know nothing of it.
"""

import io
from pathlib import Path

from pxrdbench.crystal.prior.prior import Prior, find_shipped_prior, kept_name
from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.storage.store import Store


def keep_prior(store: Store, prior: Prior) -> None:
    """Put a prior beside the shards, unless it ships or lies there already."""
    name = kept_name(prior.digest)
    if name in store.sizes() or find_shipped_prior(prior.digest, prior.name):
        return
    store.write(name, prior.to_bytes())


def recall_recipe(
    store: Store, card: RecipeCard, prior: str | Path | Prior | None = None
) -> Recipe:
    """Make the recipe of a set again.

    Args:
        store: Where the set is.
        card: Its recipe.
        prior: Where the recipe's prior is; it is looked for among those that ship and
            beside the shards if left away.

    Raises:
        RecipeError: If the prior is not here; it asks for it by its digest.
        PriorError: If its file is damaged.
    """
    if prior is None:
        name = kept_name(card.prior_digest)
        kept = store.read_many([name]).get(name)
        if kept is not None:
            prior = Prior.read(io.BytesIO(kept), store.address(name))
    return Recipe.from_card(card, prior)
