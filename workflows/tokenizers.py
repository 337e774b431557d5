"""The tokenizer that prompts are counted with."""

from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.workflows.gguf_tokenizer import write_tokenizer
from inference_autotuner.workflows.model_files import place_of
from inference_autotuner.workflows.state import state_folder


def tokenizer_of(spec: Spec, *, base: str) -> str:
    """A folder or hub id for genai-bench: the task's own, else made from a GGUF file.

    Args:
        spec: The task's spec.
        base: Folder at which relative paths start.
    """
    chosen = spec.model.tokenizer or spec.model.name
    path = place_of(chosen, base=base)
    if path.suffix == ".gguf":
        return str(write_tokenizer(path, state_folder() / "tokenizers"))
    return str(path) if path.exists() else chosen
