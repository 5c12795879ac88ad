"""The prior of a set travels with it, where it is none that ships.

It lies beside the shards as ``prior-DIGEST.npz``, DIGEST the first twelve digits of
what the recipe names, and in a folder ``prior-DIGEST.learnt.json`` says which crystals
it was fitted on. Shards, records and their digests know nothing of either.
"""

import io
from pathlib import Path

from pxrdbench.crystal.prior.prior import Prior, find_shipped_prior, kept_name
from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import Store

# Of the file beside a prior or a model that says what it has learnt from.
LEARNT_SUFFIX = ".learnt.json"


def keep_prior(store: Store, prior: Prior, learnt: str = "") -> None:
    """Put a prior beside the shards, unless it ships or lies there already.

    Args:
        store: Where the shards are.
        prior: What their crystals are drawn from.
        learnt: Contents of the prior's private sidecar, "" if there is none. It stays
            on the holder's machine: it is put into a folder, never into a bucket.
    """
    name = kept_name(prior.digest)
    there = store.sizes()
    if find_shipped_prior(prior.digest, prior.name):
        return
    if name not in there:
        store.write(name, prior.to_bytes())
    sidecar = f"{Path(name).stem}{LEARNT_SUFFIX}"
    if learnt and isinstance(store, LocalStore) and sidecar not in there:
        store.write(sidecar, learnt.encode())


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
