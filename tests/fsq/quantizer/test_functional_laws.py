"""Laws of the layers in functional models, in Keras alone: they hold on every backend.

Collected twice: here on TensorFlow, and by test_jax.py in a process on JAX.
"""

import keras
import numpy as np
import pytest
from keras import ops

from fsq import FSQ, ResidualFSQ
from fsq.quantizer.layer_base import QuantizerLayer
from fsq.quantizer.vq_layer import VQ

LAYERS = {
    "fsq": lambda: FSQ([8, 5, 4], num_codebooks=2, dim=7, noise_dropout=0.5, seed=1),
    "channels first": lambda: FSQ([8, 5, 4], dim=7, data_format="channels_first"),
    "residual": lambda: ResidualFSQ([8, 5, 4], 3, quantize_dropout=True, seed=1),
    "vq": lambda: VQ(32, 3, seed=1),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def array(x):
    return ops.convert_to_numpy(x)


def methods(layer):
    """The names of the methods that take a tensor."""
    named = ((name, getattr(type(layer), name)) for name in dir(type(layer)))
    return [name for name, value in named if hasattr(value, "is_layer_method")]


def arguments(layer, z):
    """An argument for each method, made by the layer from its inputs."""
    tokens = layer.latents_to_indices(z)
    found = {"latents_to_indices": z, "indices_to_codes": tokens}
    if isinstance(layer, FSQ):
        codes, digits = layer.indices_to_codes(tokens), layer.indices_to_digits(tokens)
        found |= {"project_in": z, "project_out": codes, "codes_to_indices": codes}
        found |= {"indices_to_digits": tokens}
        found |= {"digits_to_indices": digits, "digits_to_codes": digits}
    return found


def latents(layer):
    dim = layer.latents_shape()[1]
    shape = (2, dim, 5) if getattr(layer, "data_format", "") == "channels_first" else (2, 5, dim)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def model_of_everything(layer):
    """A functional model of the layer's own call and of all its methods, each on the next."""
    z = latents(layer)
    inputs = keras.Input(z.shape[1:])
    used = arguments(layer, inputs)
    outputs = {name: getattr(layer, name)(x) for name, x in used.items()}
    return keras.Model(inputs, outputs | {"call": layer(inputs)}), z


def expected_results(layer, z):
    results = {name: getattr(layer, name)(x) for name, x in arguments(layer, z).items()}
    return results | {"call": layer(z)}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert array(found[name]).dtype == array(expected[name]).dtype, name
        np.testing.assert_array_equal(array(found[name]), array(expected[name]), err_msg=name)


def reloaded(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.saving.load_model(tmp_path / "model.keras")


def with_loaded_weights(model, tmp_path):
    """A clone, whose weights are others, with those of a weights file."""
    clone = keras.models.clone_model(model)
    model.save_weights(tmp_path / "model.weights.h5")
    clone.load_weights(tmp_path / "model.weights.h5")
    return clone


def cloned(model, tmp_path):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


def from_its_config(model, tmp_path):
    clone = keras.Model.from_config(model.get_config())
    clone.set_weights(model.get_weights())
    return clone


@every_layer
def test_every_public_method_of_a_tensor_is_among_those_that_are_tested(name):
    layer = LAYERS[name]()
    assert sorted(methods(layer)) == sorted(arguments(layer, latents(layer)))
    own = {name for name, value in vars(type(layer)).items() if callable(value)}
    others = {"build", "quantize_latents", "latents_shape", "compute_output_shape"}
    others |= {"get_config", "from_config", "codebook_chunk"}
    assert {name for name in own if not name.startswith("_")} <= set(methods(layer)) | others


@every_layer
def test_a_functional_model_gives_what_the_methods_give(name):
    layer = LAYERS[name]()
    model, z = model_of_everything(layer)
    assert_same(model(z), expected_results(layer, z))
    for key, output in model.output.items():
        result = model(z)[key]
        assert output.dtype == keras.backend.standardize_dtype(result.dtype), key
        assert tuple(output.shape[1:]) == tuple(result.shape[1:]), key


@every_layer
def test_a_functional_model_of_any_method_owns_the_layer(name):
    for method, x in arguments(LAYERS[name](), latents(LAYERS[name]())).items():
        layer = LAYERS[name]()
        inputs = keras.Input(x.shape[1:], dtype=keras.backend.standardize_dtype(x.dtype))
        model = keras.Model(inputs, getattr(layer, method)(inputs))
        assert model.layers[1:] == [layer], method
        assert [id(one) for one in model.weights] == [id(one) for one in layer.weights], method
        clone = keras.models.clone_model(model)
        assert len(clone.weights) == len(layer.weights), method


@every_layer
@pytest.mark.parametrize("copy", [reloaded, with_loaded_weights, cloned, from_its_config])
def test_a_copy_of_a_model_has_one_layer_for_all_its_methods(copy, name, tmp_path):
    layer = LAYERS[name]()
    model, z = model_of_everything(layer)
    found = copy(model, tmp_path)
    (other,) = [one for one in found.layers if isinstance(one, QuantizerLayer)]
    assert other is not layer
    assert len(found.weights) == len(model.weights)
    assert_same(found(z), expected_results(layer, z))


def test_training_moves_the_projection_of_a_functional_model():
    layer = FSQ([8, 5], dim=6)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layer.project_out(layer.project_in(inputs)))
    model.compile("sgd", "mse")
    before = [array(weight).copy() for weight in layer.weights]
    random = np.random.default_rng(0)
    model.fit(random.normal(size=(8, 6)), random.normal(size=(8, 6)), verbose=0)
    assert [(array(one) != two).any() for one, two in zip(layer.weights, before, strict=True)] == [
        True
    ] * 4


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_codes_keep_their_digits_in_a_functional_model_of_any_policy(policy):
    layer = FSQ([601, 5], dtype=policy)  # more levels than bfloat16 resolves
    inputs = keras.Input((2,), dtype="float32")
    model = keras.Model(inputs, layer.codes_to_indices(inputs))
    np.testing.assert_array_equal(array(model(layer.codebook)), np.arange(3005))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            lambda layer: layer.latents_to_indices(keras.Input((5, 7))),
            "FSQ: expected 2 channels in the last dimension for levels [8, 5], "
            "got 7 in shape (None, 5, 7).",
        ),
        (
            lambda layer: layer.indices_to_codes(keras.Input((5,))),
            "tokens: expected integers, got float32.",
        ),
    ],
)
def test_a_symbolic_tensor_that_does_not_fit_is_refused_in_one_line(use, message):
    with pytest.raises(ValueError) as error:
        use(FSQ([8, 5]))
    assert str(error.value) == message


def test_a_built_layer_refuses_symbolic_latents_of_another_width():
    for layer in (FSQ([8, 5]), ResidualFSQ([8, 5], 2)):
        layer.build((None, 2))
        with pytest.raises(ValueError, match="expected 2 channels"):
            layer(keras.Input((5, 7)))


def test_a_model_file_can_name_no_method_but_those_of_tensors():
    with pytest.raises(ValueError, match="FSQ: expected a method of tensors, got 'set_weights'"):
        FSQ([8, 5])(keras.Input((2,)), method="set_weights")


@every_layer
def test_every_method_works_before_the_layer_is_built(name):
    for method, x in arguments(LAYERS[name](), latents(LAYERS[name]())).items():
        layer = LAYERS[name]()
        getattr(layer, method)(x)
        assert method not in ("project_in", "project_out") or layer.built


# Keras' masks belong to the dimension after the batch, which holds channels there.
@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"channels first"}))
def test_a_mask_of_positions_is_passed_on_by_the_layer_and_its_methods(name):
    layer = LAYERS[name]()
    words = np.array([[1, 2, 0], [3, 0, 0]])
    mask = [[True, True, False], [True, False, False]]
    embed = keras.layers.Embedding(5, layer.latents_shape()[1], mask_zero=True)
    inputs = keras.Input((3,), dtype="int32")
    for use in (layer, layer.latents_to_indices):
        assert use(embed(inputs))._keras_mask.shape == (None, 3)
        assert array(use(embed(words))._keras_mask).tolist() == mask
    codes = layer.indices_to_codes(layer.latents_to_indices(embed(words)))
    assert array(codes._keras_mask).tolist() == mask


def test_what_follows_the_layer_sees_the_mask():
    embed, recur = keras.layers.Embedding(9, 2, mask_zero=True), keras.layers.GRU(3)
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, recur(FSQ([8, 5])(embed(inputs))))
    padded, whole = np.array([[1, 2, 0, 0]]), np.array([[1, 2]])
    # Sums of other lengths: a few units in the last place.
    np.testing.assert_allclose(array(model(padded)), array(model(whole)), rtol=0, atol=1e-6)
