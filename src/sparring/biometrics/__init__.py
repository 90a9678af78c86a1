"""Trials of biometric verification and identification: pictures of persons, and what an audit attacks of them."""

from .acquisition import Acquisition, acquire
from .pictures import PersonPictures, person_pictures
from .trials import GOALS, Trials, make_trials
from .verifiers import as_verifier

__all__ = [
    "GOALS", "Acquisition", "PersonPictures", "Trials", "acquire", "as_verifier", "make_trials", "person_pictures",
]  # fmt: skip
