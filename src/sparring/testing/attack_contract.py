"""`check_attack`: all laws of attacks on one attack, each with the cure of what usually breaks it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..access import Attack, Gradients
from . import attack_laws as laws
from .cases import Case
from .threat_laws import check_masks_and_radii

Law = tuple[str, Callable[[], None], str]  # what is checked, the check, the cure

STATE = (
    "the state is a frozen dataclass of detached tensors, each with one row per example, and keeps the images' dtype"
)
STEPS = "let `step` make a few queries; the engine repeats it `total_steps` times and ends rows that are won"
REPEAT = "draw from oracle.key, as oracle.key.normal('noise', x.shape[1:], t), and keep all that changes in the state"
FEASIBLE = (
    "end each step by oracle.region.project(delta) or oracle.region.nearest_(x), and clone what you change in place"
)
MASKS = "take what limits a row from oracle.region (masked, steepest, project, eps), or leave `uses_region` False"
ROWS = "compute row by row, draw from oracle.key, or derive from BatchCoupled where rows must act on each other"
REPORTED = "query the oracle with the very image that is to be returned"
BUDGET = "ask the model through the oracle and in no other way"
ACCESS = "declare what is needed in the base class: Attack[Gradients, MyState]"
UNCHANGED = "clone what you change in place, detach what you keep, and draw from oracle.key"
ZERO = "let a zero gradient leave a row where it is, as oracle.region.steepest does and a division by the norm does not"
STRONG = (
    "ascend the gradient, in the direction oracle.region.steepest and with steps that reach the radius; or pass ratio="
)


def check_attack(
    attack: Attack[Any, Any], case: Case | None = None, *, tolerance: float = 1e-9, ratio: float | None = 1.02
) -> None:
    """Check that an attack obeys laws 1 to 8 and, where it says that it uses the region, law 10.

    Law 1 is skipped for `BatchCoupled` attacks.

    Args:
        case: model, images and goal; None: those of each law.
        tolerance: of law 1, on the examples; sums round otherwise in another batch.
        ratio: of law 8; None skips it.

    Raises: AssertionError, which says what was seen and what to change.
    """
    given: Any = attack
    if not isinstance(given, Attack):
        got = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
        raise AssertionError(f"{got} is no attack; pass an instance of a subclass of sparring.access.Attack")
    for what, check, cure in attack_laws_of(attack, case, tolerance, ratio):
        try:
            check()
        except AssertionError as error:
            raise AssertionError(f"{error}; {cure}") from error
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            raise AssertionError(f"{attack.name} failed while {what} was checked: {message}; {cure}") from error


def attack_laws_of(attack: Attack[Any, Any], case: Case | None, tolerance: float, ratio: float | None) -> list[Law]:
    """Return the laws that an attack is under, those first whose messages say most."""

    def law(what: str, check: Callable[..., None], cure: str, **options: Any) -> Law:
        return what, partial(check, attack, case, **options), cure

    found = [
        law("the number of queries", laws.check_ends, STEPS),
        law("the state", laws.check_state, STATE),
        law("a second run", laws.check_repeatable, REPEAT),
        law("the ball and the valid range", laws.check_feasible, FEASIBLE),
    ]
    if attack.uses_region:
        found.append(law("masks and radii per row", check_masks_and_radii, MASKS, tolerance=tolerance))
    if not attack.batch_coupled:
        found.append(law("the batch", laws.check_batch_law, ROWS, tolerance=tolerance))
    found += [
        law("reported success", laws.check_reported_success, REPORTED),
        law("the budget", laws.check_budget, BUDGET),
        law("access", laws.check_access, ACCESS),
        law("a resumed run", laws.check_resume, REPEAT),
        law("the model", laws.check_target_unchanged, UNCHANGED),
    ]
    if issubclass(attack.access, Gradients) and case is None:
        found.append(law("a zero gradient", laws.check_zero_gradient, ZERO))
    if ratio is not None:
        found.append(("the closed form", partial(laws.check_closed_form, attack, ratio=ratio), STRONG))
    return found
