"""Images for training as a tf.data.Dataset: the pixels that `fsq tokenize` encodes."""

import functools
import os
from typing import Annotated, Any

import pydantic

from fsq.dataset.argument_checks import check_flag, check_shard, check_whole
from fsq.dataset.split_by_key import split_of
from fsq.dataset.view_selection import Views
from fsq.errors import RequestError
from fsq.images.spec import DecodeRules, ImageSpec
from fsq.validation import FrozenModel, parse
from fsq.yaml_config import parse_yaml
from pipeline.core.size_filter import SizeFilter
from pipeline.job.config import TokenizeConfig
from pipeline.loading.image_epoch import ImageEpoch
from pipeline.loading.open_images import Fitting, OpenedImages
from pipeline.loading.rejects import OnReject, ignore_reject
from pipeline.loading.tf_images import batches_of
from pipeline.planning.plan import read_tokenizer
from pipeline.sources import SourceConfig
from pipeline.tokenizers.config import TrainConfig
from pipeline.tokenizers.held_out import Division
from pipeline.views import DEFAULT_VIEWS, ViewPolicyConfig

__all__ = ["ImagesConfig", "image_dataset", "open_images"]


class ImagesConfig(FrozenModel):
    """Images without a job: a source, and how its images are fitted.

    Attributes:
      source: The images.
      image: Size, channels and crop of the images.
      views: Crops and flips of every image.
      decode: Which image files are decoded.
      filter: Which images are read, by their size.
      max_reject_fraction: Share of the images that may be rejected.
    """

    source: SourceConfig
    image: ImageSpec
    views: Annotated[tuple[ViewPolicyConfig, ...], pydantic.Field(min_length=1)] = DEFAULT_VIEWS
    decode: DecodeRules = DecodeRules()
    filter: SizeFilter | None = None
    max_reject_fraction: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0


Config = TokenizeConfig | TrainConfig | ImagesConfig
ConfigOrPath = Config | dict[str, Any] | str | os.PathLike[str]


def open_images(config: ConfigOrPath, split: str | None = None) -> OpenedImages:
    """Lists the images of a config once, for `image_dataset` over many epochs.

    Args:
      config: What `fsq tokenize` or `fsq train` runs, without the images that it holds out, or
        an `ImagesConfig`; or the path of such a YAML file, or its content.
      split: Which split of `output.split` to read; None for all images.

    Raises:
      RequestError: The config is invalid, there are no images, or there is no such split.
      DataError: A file is damaged, and the config does not reject damage.
    """
    match _as_config(config):
        case TokenizeConfig() as job:
            return _open_job(job, split)
        case other if split is not None:
            raise RequestError(
                f"split: expected None, because the config has no output.split, got {split!r}."
            )
        case TrainConfig() as training:
            return OpenedImages(
                training.source.open(),
                Fitting(training.tokenizer.image),
                keep=Division.of(training).keep,
            )
        case other:
            return OpenedImages(
                other.source.open(),
                Fitting(other.image, other.views, other.decode, other.filter),
                max_reject_fraction=other.max_reject_fraction,
            )


def image_dataset(
    config: OpenedImages | ConfigOrPath,
    split: str | None = None,
    *,
    batch_size: int,
    views: Views = "all",
    shuffle_seed: int | None = None,
    epoch: int = 0,
    shard: tuple[int, int] = (0, 1),
    start: int | None = None,
    drop_remainder: bool = False,
    prefetch: int = 2,
    on_reject: OnReject = ignore_reject,
) -> Any:
    """Reads one epoch of a source's images, or one host's share of it, as batches.

    The pixels are those that `fsq tokenize` encodes. The order depends on (seed, epoch, shard)
    alone. To resume within an epoch, pass the last `position` that was taken, plus one, as
    `start`, or save the iterator in a tf.train.Checkpoint. An image that a job would reject is
    left out and counted: `dataset.rejects` has the rejects so far, with key and reason.

    Args:
      config: What `open_images` takes, or what it returned.
      split: Which split of `output.split` to read; None for all images.
      batch_size: Views per batch.
      views: Views of each image: 'all'; the 'first' of the config; or 'one_per_epoch', drawn
        again in each epoch, as `token_dataset` draws them.
      shuffle_seed: Seed of the order; None for the order of the source.
      epoch: Index of the epoch; each has another order.
      shard: (index, count) of the share to read; shares are disjoint and cover the epoch.
      start: Position to start at; None for the begin of the share.
      drop_remainder: Drop the last partial batch.
      prefetch: Number of batches to prefetch; -1 (tf.data.AUTOTUNE) lets tf.data decide.
      on_reject: Called with each reject, from several threads.

    Returns:
      A tf.data.Dataset of dicts: 'image' uint8 [B, H, W, C]; 'key' and 'view' tf.string [B];
      'crop' int64 [B, 4], left, top, right and bottom in source pixels; 'flip' int64 [B];
      'source_size' int64 [B, 2], height and width; 'position' int64 [B], rising; and the
      carried features, such as 'label', [B].

    Raises:
      RequestError, DataError: An argument is invalid; see `open_images`. Damage or too many
        rejects, found while iterating, are a tf.errors.OpError with the DataError's message.
    """
    order = ImageEpoch(
        _opened(config, split),
        shuffle_seed=None if shuffle_seed is None else check_whole("shuffle_seed", shuffle_seed),
        epoch=check_whole("epoch", epoch, least=0),
        shard=check_shard(shard),
        views=views,
        on_reject=on_reject,
    )
    return batches_of(
        order,
        batch_size=check_whole("batch_size", batch_size, least=1),
        start=None if start is None else check_whole("start", start),
        drop_remainder=check_flag("drop_remainder", drop_remainder),
        prefetch=check_whole("prefetch", prefetch, least=-1),
    )


def _opened(config: OpenedImages | ConfigOrPath, split: str | None) -> OpenedImages:
    if not isinstance(config, OpenedImages):
        return open_images(config, split)
    if split is not None:
        raise RequestError(
            f"split: expected None with opened images, got {split!r}. Pass it to open_images."
        )
    return config


def _as_config(config: Any) -> Config:
    if isinstance(config, TokenizeConfig | TrainConfig | ImagesConfig):
        return config
    where = "config"
    if not isinstance(config, dict):
        where = os.fspath(config)
        config = parse_yaml(where)
    keys = config.keys() if isinstance(config, dict) else ()
    if "training" in keys:
        return parse(TrainConfig, config, where)
    if "output" in keys:
        return parse(TokenizeConfig, config, where)
    return parse(ImagesConfig, config, where)


def _open_job(config: TokenizeConfig, split: str | None) -> OpenedImages:
    output = config.output
    if split is not None and split not in output.split_names:
        raise RequestError(
            f"split: expected one of {', '.join(output.split_names)}, got {split!r}."
        )
    if config.buckets is not None:
        raise RequestError(
            "buckets: expected images of one size, got a job with buckets, whose batches differ in "
            "shape. Leave them out here; fsq tokenize and the readers of tokens know them."
        )
    shares, parts = output.shares, output.parts
    keep = None
    if split is not None and shares is not None:
        keep = functools.partial(_is_in_split, split, shares)
    return OpenedImages(
        config.open_source(),
        Fitting(read_tokenizer(config).contract.fitted, config.views, config.decode, config.filter),
        max_reject_fraction=config.max_reject_fraction,
        splits=None if split is None or parts is None else (split,),
        keep=keep,
    )


def _is_in_split(split: str, shares: dict[str, float], key: str) -> bool:
    return split_of(key, shares) == split
