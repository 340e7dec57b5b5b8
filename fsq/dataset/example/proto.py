"""tf.train.Example as a protobuf message class, without TensorFlow.

Importing TensorFlow's own class takes seconds, which a job that does not run
TensorFlow should not spend. The wire format is the same.

Source: tensorflow/core/example/example.proto and feature.proto.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_LISTS = (
    ("bytes_list", "BytesList", _Field.TYPE_BYTES),
    ("float_list", "FloatList", _Field.TYPE_FLOAT),
    ("int64_list", "Int64List", _Field.TYPE_INT64),
)


def _example_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", syntax="proto3", package="fsq")
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, list_name, kind) in enumerate(_LISTS, start=1):
        values = file.message_type.add(name=list_name)
        values.field.add(name="value", number=1, label=_Field.LABEL_REPEATED, type=kind)
        entry = feature.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
        entry.type, entry.type_name, entry.oneof_index = _Field.TYPE_MESSAGE, f".fsq.{list_name}", 0
    features = file.message_type.add(name="Features")
    pair = features.nested_type.add(name="FeatureEntry")
    pair.options.map_entry = True
    pair.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
    _message(pair, "value", 2, "Feature")
    _message(features, "feature", 1, "Features.FeatureEntry", label=_Field.LABEL_REPEATED)
    _message(file.message_type.add(name="Example"), "features", 1, "Features")
    # A separate pool, so that the names cannot clash with TensorFlow's.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fsq.Example"))


def _message(
    parent: Any, name: str, number: int, type_name: str, label: Any = _Field.LABEL_OPTIONAL
) -> None:
    field = parent.field.add(name=name, number=number, label=label)
    field.type, field.type_name = _Field.TYPE_MESSAGE, f".fsq.{type_name}"


Example = _example_class()
