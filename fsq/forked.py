"""Forked processes: TensorFlow hangs in one whose parent had run it, so it is refused there."""

import os
import sys

from fsq.errors import RequestError

_parent_ran_tensorflow = False


def refuse_fork(what: str) -> None:
    """Refuses to use TensorFlow in a process that was forked after it had run.

    Its threads do not exist there, and whoever waits for them waits for ever.

    Raises:
      RequestError: This is such a process.
    """
    if _parent_ran_tensorflow:
        raise RequestError(
            f"{what}: expected a process of its own, got one forked from a process in which "
            "TensorFlow had run; TensorFlow would hang here. Start it with 'spawn' or "
            "'forkserver': multiprocessing.get_context('spawn'), or in PyTorch "
            "DataLoader(..., multiprocessing_context='spawn')."
        )


def _note_parent() -> None:
    global _parent_ran_tensorflow
    module = sys.modules.get("tensorflow.python.eager.context")
    context = module.context_safe() if module is not None else None
    _parent_ran_tensorflow |= bool(getattr(context, "_initialized", False))


os.register_at_fork(after_in_child=_note_parent)
