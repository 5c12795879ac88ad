"""Every error that pxrdbench raises on purpose.

PxrdbenchError
├── CrystalError      a crystal that cannot be: angles, elements, sites, groups
├── PriorError        a prior that cannot be fitted, read or drawn from
├── PatternError      a radiation, range, grid or profile that cannot be
├── SourceError       a file of crystals or measurements that cannot be read
├── RecipeError       a recipe that this version cannot reproduce
├── ShardError        a shard or manifest that is damaged or does not belong
│   └── StoreError    a disk, cache, network or store that fails; the shards may be well
├── SplitError        an unknown track or part
├── ModelError        an unknown model, or a checkpoint that does not fit
├── EvaluationError   predictions that do not belong to a track
└── OptionError       an option that cannot act, or contradicts another

All are ``ValueError`` too, so that code which knows nothing of pxrdbench can
catch them. The message names the value, the bound and the remedy.
"""


class PxrdbenchWarning(UserWarning):
    """Base of what is said and does not stop; one sentence on the command line."""


class PxrdbenchError(ValueError):
    """Base of all errors raised on purpose."""


class CrystalError(PxrdbenchError):
    """A crystal that cannot be: angles, elements, sites, groups.

    Attributes:
        index: Position in the batch, where the crystal was one of many.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class PriorError(PxrdbenchError):
    """A prior that cannot be fitted, read or drawn from."""


class PatternError(PxrdbenchError):
    """A radiation, range, grid or profile that cannot be.

    Attributes:
        index: Position in the batch, where one crystal of many is to blame.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class SourceError(PxrdbenchError):
    """A file of crystals or measurements that cannot be read."""


class RecipeError(PxrdbenchError):
    """A recipe that this version cannot reproduce."""


class ShardError(PxrdbenchError):
    """A shard or manifest that is damaged or does not belong."""


class StoreError(ShardError):
    """A disk, cache, network or store that fails; the shards may be well.

    What is met is the machine, not the data: nothing is left out for it, nothing is to
    be deleted, and the same call works again once the cause is gone.
    """


class SplitError(PxrdbenchError):
    """An unknown track or part."""


class ModelError(PxrdbenchError):
    """An unknown model, or a checkpoint that does not fit."""


class EvaluationError(PxrdbenchError):
    """Predictions that do not belong to a track."""


class OptionError(PxrdbenchError):
    """An option that cannot act, or contradicts another."""
