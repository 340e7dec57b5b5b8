"""The Beam pipeline around RunInference, the same for each handler."""

from collections.abc import Iterator

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.peers.job import CORES, PeerJob
from benchmarks.peers.pixels import load_pixels
from fsq.images.spec import ImageSpec

# The runner and its options are those of `fsq tokenize`.
OPTIONS = [
    "--runner=FnApiRunner",
    "--direct_running_mode=multi_threading",
    f"--direct_num_workers={CORES + 1}",
]


def run_graph(job: PeerJob, handler: ModelHandler) -> None:
    """Reads, decodes, infers and writes; an element is an image."""
    spec = job.workload.contract.image
    with beam.Pipeline(options=PipelineOptions(OPTIONS)) as pipeline:
        _ = (
            _read(pipeline, job)
            | "Decode" >> beam.Map(_decode, spec)
            | "Infer" >> RunInference(KeyedModelHandler(handler))
            | "Example" >> beam.Map(_example)
            | "Write" >> beam.io.WriteToTFRecord(f"{job.output}/tokens.tfrecord")
        )


def _read(pipeline: beam.Pipeline, job: PeerJob) -> beam.PCollection:
    if job.dataset.tfrecords:
        files = [str(path) for path in job.dataset.tfrecords]
        return (
            pipeline
            | "Files" >> beam.Create(files)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_read_tfrecord)
        )
    return (
        pipeline
        | "Paths" >> beam.Create([str(path) for path in job.dataset.paths])
        | "Spread" >> beam.Reshuffle()
        | "Read" >> beam.Map(_read_file)
    )


def _read_file(path: str) -> tuple[str, bytes]:
    with open(path, "rb") as file:
        return path, file.read()


def _read_tfrecord(path: str) -> Iterator[tuple[str, bytes]]:
    import tensorflow as tf

    for data in tf.data.TFRecordDataset(path).as_numpy_iterator():
        feature = tf.train.Example.FromString(data).features.feature
        key = feature["key"].bytes_list.value[0].decode()
        yield key, feature["image"].bytes_list.value[0]


def _decode(element: tuple[str, bytes], spec: ImageSpec) -> tuple[str, np.ndarray]:
    key, data = element
    return key, load_pixels(data, spec.height, spec.channels)


def _example(element) -> bytes:
    import tensorflow as tf

    key, result = element
    example = tf.train.Example()
    example.features.feature["key"].bytes_list.value.append(key.encode())
    tokens = np.asarray(result.inference).astype("<u2")
    example.features.feature["tokens"].bytes_list.value.append(tokens.tobytes())
    return example.SerializeToString()
