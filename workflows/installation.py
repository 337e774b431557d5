"""What is installed in a namespace, as its ConfigMap `autotuner-config` says."""

from collections.abc import Mapping
from dataclasses import dataclass

CONFIG_MAP = "autotuner-config"
POOLS_CONFIG_MAP = "gpu-pools"
STORAGE_SECRET = "autotuner-storage"
STORAGE_PORT = 13000


@dataclass(frozen=True)
class Installation:
    """What the pods of a study run with.

    Attributes:
        image: The image with the command `autotuner`.
        bench_image: The same with genai-bench.
        storage: Address of the storage service as pods reach it.
        pool: Key of the ConfigMap `gpu-pools`: how many trials may run at once, of all studies.
    """

    image: str = "inference-autotuner:0.1.0"
    bench_image: str = "inference-autotuner-bench:0.1.0"
    storage: str = f"grpc://autotuner-storage:{STORAGE_PORT}"
    pool: str = "default"


def parse_installation(config: Mapping[str, str]) -> Installation:
    """The data of the ConfigMap; what it does not say stays as it is by default."""
    names = {"image": "image", "bench-image": "bench_image", "storage": "storage"}
    return Installation(**{names[key]: value for key, value in config.items() if key in names})
