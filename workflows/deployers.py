"""Which deployer serves which mode."""

from inference_autotuner.optimizer.errors import Mistake, TaskError
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.workflows.deployer import Deployer
from inference_autotuner.workflows.process import ProcessDeployer


def deployer_for(spec: Spec) -> Deployer:
    """The deployer of a task that is run on this machine.

    Raises:
        TaskError: `autotuner run` does not serve this mode.
    """
    if spec.deployment.mode == "process":
        return ProcessDeployer()
    message = (
        f"'autotuner run' serves mode process; '{spec.deployment.mode}' is read, checked and "
        "planned, and not yet run"
    )
    raise TaskError([Mistake("spec.deployment.mode", message)])
