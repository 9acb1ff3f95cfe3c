"""Another method's order under a command: what asks the model is measured here, with lines of progress."""

from delift_core.baselines.ordering import MODEL_METHODS
from delift_core.cli.job_progress import stop_on_signal
from delift_core.cli.terminal import Interrupted, note
from delift_core.curation.problem import SelectionProblem
from delift_core.evaluation.evaluation_request import EvaluationStopped
from delift_core.evaluation.method_orders import measured_order
from delift_core.selection.types import NO_FIXED_ROWS, Budget, ChosenBy, FixedRows, GreedyOrder, Quotas
from delift_core.workspace import Workspace


def order_asked_of_the_model(
    workspace: Workspace,
    problem: SelectionProblem,
    method: ChosenBy,
    budget: Budget,
    *,
    seed: int,
    quotas: Quotas | None = None,
    fixed: FixedRows = NO_FIXED_ROWS,
) -> GreedyOrder | None:
    """The order of a method that asks the model; None of one that does not, whose order `problem.select` makes.

    Raises:
        Interrupted: Ctrl-C or SIGTERM.
        DeliftError: as `measured_order`.
    """
    if method == "delift" or method == "given" or method not in MODEL_METHODS:
        return None
    try:
        with stop_on_signal() as stop:
            stop.gently = True
            order = measured_order(workspace, problem, method, seed=seed, publish=note, stop=stop)
    except EvaluationStopped as error:
        raise Interrupted(f"{error}; what was scored is kept in {workspace.folder}") from error
    return problem.arrange_order(order, budget, quotas=quotas, fixed=fixed)
