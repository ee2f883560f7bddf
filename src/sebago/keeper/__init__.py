"""Background work: state in the index, done a piece at a time, to be stopped at any point."""

from sebago.keeper.keeper import Keeper

__all__ = ["Keeper"]
