"""What steps cost: predictions, their coefficients, and what corrects them while it runs.

    coefficients  the numbers, checked       files       by name or by path
    model         predictions from them      correction  one instance's own speed
    estimate      from data sheets           samples, fit, probes   from measured steps

All of it is pure. What needs numpy (`fit`) or is used by the command line alone (`estimate`,
`samples`, `probes`) is imported from its own module.
"""

from preble.cost_model.coefficients import Coefficients
from preble.cost_model.correction import StepCorrection
from preble.cost_model.files import known_cost_models, load_coefficients, load_cost_model
from preble.cost_model.model import CostModel, StepRequest

__all__ = [
    "Coefficients",
    "CostModel",
    "StepCorrection",
    "StepRequest",
    "known_cost_models",
    "load_coefficients",
    "load_cost_model",
]
