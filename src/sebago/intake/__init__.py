"""The one way in: every door ends in `Intake.accept`.

A door says who sent (`Source`, from the authenticated connection, never from the object), what was
announced (`Declared`, from the command or the file meta information) and hands over the received
bytes (`Incoming`). When `accept` returns, the instance is durable and findable.
"""

from sebago.intake.accept import Intake
from sebago.intake.sources import Accepted, Declared, Outcome, Source
from sebago.journal import Spool as Incoming

__all__ = ["Accepted", "Declared", "Incoming", "Intake", "Outcome", "Source"]
