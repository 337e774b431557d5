"""How objects of ours are told from everybody else's on a cluster."""

STUDY = "inference-autotuner/study"
TRIAL = "inference-autotuner/trial"
STEP = "inference-autotuner/step"
"""On the pods of a Workflow, with the number of the trial beside it."""
STEP_TRIAL = "inference-autotuner/step-trial"
WORKFLOW_UID = "inference-autotuner/workflow-uid"
LEASE_UNTIL = "inference-autotuner/lease-until"
"""Annotation: RFC 3339 in UTC, after which an object is nobody's."""

MANAGED_BY = {"app.kubernetes.io/managed-by": "inference-autotuner"}
"""On every object that the tuner makes, and on nothing else."""
