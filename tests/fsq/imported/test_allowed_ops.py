"""The operations that an imported graph may hold: a fixed list, none of which acts on anything."""

import json
import re
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from fsq.imported import op_allowlist

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "allowed_ops.json").read_text())
ALLOWED = sorted(op_allowlist.SAFE_OPS)
OF_A_SAVED_MODEL = sorted(op_allowlist._SAVED_MODEL_OPS - op_allowlist.SAFE_OPS)
# Calls and branches, marked because a function that they run could have state, and every operation
# of it is checked too; and two that raise an error for what they see.
STATEFUL = ["Assert", "Case", "CheckNumerics", "If", "StatefulPartitionedCall", "While"]
# TensorFlow counts the first four as stateless.
ACTS = (
    "ReadFile",
    "WriteFile",
    "MatchingFiles",
    "PyFuncStateless",
    "EagerPyFunc",
    "Print",
    "PrintV2",
)


def definition(name: str):
    found = op_def_registry.get(name)
    assert found is not None, f"{name}: expected an operation of TensorFlow, found none."
    return found


def types_of(name: str) -> set[tf.DType]:
    """The fixed types of an operation's inputs and outputs."""
    found = definition(name)
    arguments = [*found.input_arg, *found.output_arg]
    return {tf.as_dtype(argument.type) for argument in arguments if argument.type}


def test_the_list_is_the_golden_one():
    """Whoever allows another operation changes the golden file, and reads what it says."""
    assert GOLDEN["allowed"] == ALLOWED
    assert GOLDEN["allowed in a SavedModel, none of them once it is frozen"] == OF_A_SAVED_MODEL


def test_no_operation_has_state_but_those_that_only_call_or_check():
    assert [name for name in ALLOWED if definition(name).is_stateful] == STATEFUL


def test_no_operation_takes_or_gives_text_or_a_resource():
    """So none is given the name of a file, a table, a variable or a Python function."""
    bad = {tf.string, tf.resource}
    assert [name for name in ALLOWED if types_of(name) & bad] == []


@pytest.mark.parametrize("name", ACTS)
def test_what_reads_writes_prints_or_calls_python_is_not_in_the_list(name: str):
    assert definition(name) is not None
    assert name not in [*ALLOWED, *OF_A_SAVED_MODEL]


def test_no_name_in_the_list_is_that_of_a_reader_writer_printer_or_python():
    suspicious = r"Read|Write|File|Print|Py[FC]|Save|Restore|Send|Recv|Random|Decode|Dataset|Table"
    assert [name for name in ALLOWED if re.search(suspicious, name)] == []
    # Those that hold and restore the variables of a SavedModel; loading it runs none of them.
    assert [name for name in OF_A_SAVED_MODEL if re.search(suspicious, name)] == [
        "DisableCopyOnRead",
        "ReadVariableOp",
        "RestoreV2",
        "SaveV2",
        "ShardedFilename",
    ]
