"""A script written by hand: tf.data, `model.predict`, TFRecordWriter."""

import tensorflow as tf

from benchmarks.peers.job import PeerJob, run_peer
from benchmarks.peers.model import token_model


def run(job: PeerJob) -> None:
    """Decodes, encodes and writes in one tf.data loop."""
    spec = job.workload.contract.image
    size = spec.height

    def load(key, data):
        image = tf.io.decode_image(data, spec.channels, expand_animations=False)
        shape = tf.shape(image)
        side = tf.minimum(shape[0], shape[1])
        image = tf.image.resize_with_crop_or_pad(image, side, side)
        if not job.dataset.tfrecords and job.workload.archive == "clothing_photos.tar":
            image = tf.image.resize(image, (size, size), "bicubic", antialias=True)
            image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
        return key, tf.ensure_shape(image, (size, size, spec.channels))

    images = _read(job).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    images = images.batch(job.workload.batch_size).prefetch(tf.data.AUTOTUNE)
    model = token_model(job.workload)
    with tf.io.TFRecordWriter(str(job.output / "tokens.tfrecord")) as writer:
        for keys, batch in images:
            for key, tokens in zip(keys.numpy(), model.predict(batch, verbose=0), strict=True):
                features = {
                    "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[key])),
                    "tokens": tf.train.Feature(
                        int64_list=tf.train.Int64List(value=tokens.reshape(-1))
                    ),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())


def _read(job: PeerJob) -> tf.data.Dataset:
    """Keys and encoded images."""
    if job.dataset.tfrecords:
        features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("key", "image")}

        def parse(data):
            parsed = tf.io.parse_single_example(data, features)
            return parsed["key"], parsed["image"]

        files = [str(path) for path in job.dataset.tfrecords]
        return tf.data.TFRecordDataset(files).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    paths = tf.data.Dataset.list_files(f"{job.dataset.images}/*", shuffle=False)
    return paths.map(
        lambda path: (path, tf.io.read_file(path)), num_parallel_calls=tf.data.AUTOTUNE
    )


if __name__ == "__main__":
    run_peer(run)
