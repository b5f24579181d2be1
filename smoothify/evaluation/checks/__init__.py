"""The checks of the sanity suite. A function returns its verdict and, in one line, what it found."""

from smoothify.evaluation.checks import of_the_attack, of_the_model
from smoothify.evaluation.checks.check import Check, CheckResult

__all__ = ["CHECKS", "Check", "CheckResult"]

CHECKS: tuple[Check, ...] = (
    Check("inputs in [0, 1]", of_the_model.inputs),
    Check("normalised once", of_the_model.normalised_once),
    Check("eval mode", of_the_model.eval_mode),
    Check("finite logits", of_the_model.finite),
    Check("deterministic", of_the_model.deterministic),
    Check("attack moves images", of_the_attack.moves, about="attack"),
    Check("within epsilon", of_the_attack.within_epsilon, about="attack"),
    Check("re-measured from saved images", of_the_attack.remeasured, about="attack"),
    Check("accuracy falls with epsilon", of_the_attack.larger_epsilon, about="threat model"),
    Check("twice the paper's epsilon", of_the_attack.doubled_epsilon, about="threat model"),
    Check("steps and restarts converge", of_the_attack.converges, about="threat model"),
    Check("multi-step, one step, noise", of_the_attack.stronger_with_steps, about="attack"),
    Check("white box, black box", of_the_attack.white_box, about="attack"),
    Check("logits rescaled", of_the_attack.rescaled_logits, about="threat model"),
    Check("cross-entropy, DLR", of_the_attack.other_loss, about="threat model"),
    Check("gradients of zero", of_the_model.zero_gradients, about="threat model"),
    Check("gradients, finite differences", of_the_model.finite_differences),
    Check("smoothness", of_the_model.smoothness),
)
"""All checks, in the order in which `sanity` makes them."""
