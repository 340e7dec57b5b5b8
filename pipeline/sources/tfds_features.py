"""Features of a prepared dataset: which are read as tensorflow-datasets itself reads them.

The records are read without tensorflow-datasets, so whatever their bytes would mean beyond an
image file or a plain scalar is refused by name.
"""

from typing import Any

import numpy as np

from fsq.dataset.records import CarriedFeature, FeatureKind
from fsq.errors import RequestError

MAX_CLASSES = 1_000_000

# How tensorflow-datasets stores a scalar in a tf.train.Example. A float64 is a float32 there, so
# nothing more is lost; a uint64 is there with the bits of an int64.
_STORED: dict[str, FeatureKind] = {
    **dict.fromkeys(("bool", "int8", "int16", "int32", "int64"), "int64"),
    **dict.fromkeys(("uint8", "uint16", "uint32"), "int64"),
    **dict.fromkeys(("float16", "float32", "float64"), "float32"),
    **dict.fromkeys(("object", "str"), "bytes"),
}


def check_image(name: str, features: Any) -> None:
    """Checks that a feature holds image files that are read as their owner reads them.

    Raises:
      RequestError: It does not; the message says what it is.
    """
    known = _fields(features)
    if name in known and (problem := _image_problem(known[name])) is None:
        return
    images = [field for field in known if _image_problem(known[field]) is None]
    got = f"{name!r}, {_describe(known[name])}{problem}" if name in known else repr(name)
    raise RequestError(
        f"source.image: expected an image feature ({', '.join(images) or 'none here'}), got {got}."
    )


def carried_feature(name: str, features: Any) -> CarriedFeature:
    """Returns how a scalar feature is carried.

    Raises:
      RequestError: There is none, or it is stored in another way than as a plain scalar.
    """
    known = _fields(features)
    if name not in known:
        raise RequestError(
            f"source.carry: expected features among {', '.join(sorted(known))}, got {name!r}."
        )
    feature = known[name]
    kind = _scalar_kind(feature)
    if kind is None:
        raise RequestError(
            f"source.carry: expected scalar features, got {name!r}, {_describe(feature)}"
            f"{_scalar_problem(feature)}. Leave it out."
        )
    if (getattr(feature, "num_classes", None) or 0) > MAX_CLASSES:
        # tensorflow-datasets would generate a name for each.
        raise RequestError(
            f"source.carry: expected at most {MAX_CLASSES:,} classes of {name!r}, "
            f"got {feature.num_classes:,}. features.json is damaged; prepare the dataset again."
        )
    class_names = tuple(getattr(feature, "names", None) or ()) or None
    return CarriedFeature(name, name, kind, class_names if kind == "int64" else None)


def _fields(features: Any) -> dict[str, Any]:
    """Returns the named features of a dataset; none if its records have no names for them.

    A feature inside another has the path by which records name it, such as 'obs/image'.
    """
    import tensorflow_datasets as tfds

    # A Translation is a FeaturesDict too.
    if type(features) is not tfds.features.FeaturesDict:
        return {}
    found: dict[str, Any] = {}
    for name, feature in features.items():
        found[name] = feature
        found |= {f"{name}/{path}": one for path, one in _fields(feature).items()}
    return found


def _image_problem(feature: Any) -> str | None:
    """Returns why a feature is no image that is read as its owner reads it, or None."""
    import tensorflow_datasets as tfds

    # Not isinstance: a class made from Image may mean anything by its bytes.
    if type(feature) is tfds.features.LabeledImage:
        return ", whose pixels are numbers of classes and not colours"
    if type(feature) is not tfds.features.Image:
        return ""
    match _dtype(feature):
        case "uint8":
            return None
        case "float32":
            return ", whose PNG files hold the bits of floats"
        case "uint16":
            return (
                ", of which an image of 8 bits keeps little. If its values use all 16 bits, read "
                "the files as source.kind tfrecord: there 16 bits are scaled to 8"
            )
        case _:
            return ", which is not read as such"


def _scalar_kind(feature: Any) -> FeatureKind | None:
    """Returns the type of list that holds a plain scalar; None for anything else."""
    import tensorflow_datasets as tfds

    plain = (tfds.features.Tensor, tfds.features.Scalar, tfds.features.ClassLabel)
    if type(feature) not in (*plain, tfds.features.Text) or feature.shape != ():
        return None
    stored = feature.get_serialized_info()
    if stored.shape != () or _dtype(stored) != _dtype(feature):
        return None
    return _STORED.get(_dtype(feature) or "")


def _scalar_problem(feature: Any) -> str:
    encoding = getattr(getattr(feature, "_encoding", None), "value", "none")
    if encoding != "none":
        return f" with the encoding {encoding}"
    if getattr(feature, "encoder", None) is not None:
        return " with an encoder"
    return ", stored with the bits of an int64" if _dtype(feature) == "uint64" else ""


def _describe(feature: Any) -> str:
    """Describes a feature: its class, and dtype and shape if it has one of each."""
    name = type(feature).__name__
    article = "an" if name[0] in "AEIO" else "a"
    dtype = _dtype(feature)
    if dtype is None:
        return f"{article} {name}"
    sizes = ", ".join("?" if size is None else str(size) for size in feature.shape)
    shape = f" [{sizes}]" if sizes else ""
    return f"{article} {name} of {'text' if _STORED.get(dtype) == 'bytes' else dtype}{shape}"


def _dtype(feature: Any) -> str | None:
    """Returns the name of the dtype of a feature; None if it has several."""
    dtype = feature.np_dtype
    return None if isinstance(dtype, dict) else np.dtype(dtype).name
