"""Token contract: what a token means, as the JSON beside every tokenizer and dataset."""

import hashlib
import json
from typing import Annotated, Literal, Self

import pydantic

from fsq.images.buckets import spec_of_image
from fsq.images.crops import CROPS
from fsq.images.spec import CropName, ImageSpec, Side
from fsq.quantizer import lattice
from fsq.quantizer.presets import Preset, check_preset
from fsq.spec.network_spec import ConvNetwork, ImportedNetwork, NetworkSpec, ResidualNetwork

CONTRACT_FILE = "tokenizer.json"
WEIGHTS_FILE = "tokenizer.safetensors"


class QuantizerSpec(pydantic.BaseModel):
    """Images and quantizer of a tokenizer, whatever its networks.

    Attributes:
      levels: Values per channel; their product is the size of the vocabulary.
      preset: How latents are bounded and rounded; see docs/fsq.md.
      eps: Margin of the bound, for the presets that have one.
      image: What the encoder takes.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    levels: tuple[int, ...]
    preset: Preset = "atanh"
    eps: Annotated[float, pydantic.Field(gt=0, le=1e-3)] = 1e-3
    image: ImageSpec

    @pydantic.field_validator("levels", mode="before")
    @classmethod
    def _levels_are_a_lattice(cls, levels: object) -> lattice.Levels:
        return lattice.check_levels(levels)  # type: ignore[arg-type]

    @pydantic.model_validator(mode="after")
    def _preset_places_levels(self) -> Self:
        check_preset(self.preset, self.levels)
        return self

    @property
    def vocab_size(self) -> int:
        """Number of tokens: the product of the levels."""
        return lattice.vocab_size(self.levels)


class TokenizerSpec(QuantizerSpec):
    """Specification of a tokenizer to train; the part of the contract that users write.

    Attributes:
      network: Architecture of encoder and decoder.
    """

    network: NetworkSpec

    @pydantic.model_validator(mode="after")
    def _image_divides(self) -> Self:
        height, width, _ = self.image.shape
        if height % self.network.downsampling or width % self.network.downsampling:
            name = "image.size_pixels" if self.image.size is None else "image.size"
            raise ValueError(
                f"expected {name} to be a multiple of the network's downsampling, "
                f"{self.network.downsampling}, got {self.image.size_pixels or [height, width]}"
            )
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens per image."""
        factor = self.network.downsampling
        return self.image.height // factor, self.image.width // factor


class ImportedSpec(QuantizerSpec):
    """What an imported tokenizer is: the lattice, the image contract, its networks."""

    network: ImportedNetwork

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens per image."""
        return self.network.grid


class TokenContract(pydantic.BaseModel):
    """The content of tokenizer.json. In a dataset, `views` and `dtype` are filled in too.

    So are `crop`, if its images were not fitted as the tokenizer's own crop policy says, and
    `buckets`, height and width of each, if its images have several sizes.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    levels: tuple[int, ...]
    preset: Preset
    eps: float
    basis_order: Literal["first_channel_fastest"] = "first_channel_fastest"
    vocab_size: int
    grid: tuple[int, int]
    raster_order: Literal["row_major"] = "row_major"
    image: ImageSpec
    network: Annotated[
        ConvNetwork | ResidualNetwork | ImportedNetwork, pydantic.Field(discriminator="kind")
    ]
    weights_sha256: str
    views: tuple[str, ...] | None = None
    crop: CropName | None = None
    buckets: tuple[tuple[Side, Side], ...] | None = None
    dtype: Literal["uint8", "uint16", "int32", "int64", "int64_list"] | None = None

    @classmethod
    def of(cls, spec: TokenizerSpec | ImportedSpec, weights_sha256: str) -> "TokenContract":
        """Spells out all that follows from the spec."""
        return cls(
            levels=spec.levels,
            preset=spec.preset,
            eps=spec.eps,
            vocab_size=spec.vocab_size,
            grid=spec.grid,
            image=spec.image,
            network=spec.network,
            weights_sha256=weights_sha256,
        )

    @property
    def spec(self) -> TokenizerSpec | ImportedSpec:
        """What the tokenizer is made of; an `ImportedSpec` if it was imported."""
        model = ImportedSpec if isinstance(self.network, ImportedNetwork) else TokenizerSpec
        return model(
            levels=self.levels,
            preset=self.preset,
            eps=self.eps,
            image=self.image,
            network=self.network,
        )

    @pydantic.model_validator(mode="after")
    def _derived_fields_follow(self) -> Self:
        spec = self.spec
        for name, expected in (("vocab_size", spec.vocab_size), ("grid", spec.grid)):
            if getattr(self, name) != expected:
                raise ValueError(f"{name}: expected {expected}, got {getattr(self, name)}")
        for bucket in self.buckets or ():
            self.at_size(*bucket)  # refuses sizes that are not made of whole tokens
        return self

    @property
    def meaning_sha256(self) -> str:
        """sha256 of all fields but the weights' and a dataset's; stored in the weights file."""
        others = {"weights_sha256", "views", "crop", "buckets", "dtype"}
        content = self.model_dump(mode="json", exclude_none=True, exclude=others)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def fitted(self) -> ImageSpec:
        """How the images of a dataset are fitted: as the tokenizer says, or by another crop."""
        if self.crop in (None, self.image.crop):
            return self.image
        resize = CROPS[self.crop].resize or self.image.resize
        return self.image.model_copy(update={"crop": self.crop, "resize": resize})

    def fitted_to(self, height: int, width: int) -> ImageSpec:
        """Returns how an image of a dataset is fitted, by its own height and width in pixels."""
        return spec_of_image(self.fitted, self.buckets or (), height, width)

    @property
    def stride(self) -> tuple[int, int] | None:
        """Pixels per token along height and width; None if tokens have no such place.

        So it is if latents are a flat sequence, or the grid does not divide the image.
        """
        network = self.network
        if isinstance(network, ImportedNetwork) and network.latents == "flat":
            return None
        (height, width, _), (rows, columns) = self.image.shape, self.grid
        if height % rows or width % columns:
            return None
        return height // rows, width // columns

    def at_size(self, height: int, width: int) -> "TokenContract":
        """Returns the contract of the same networks for images of another size.

        Raises:
          ValueError: The size is not a multiple of the stride, or the networks have none.
        """
        if (height, width) == self.image.shape[:2]:
            return self.model_copy(update={"buckets": None})
        if self.stride is None:
            raise ValueError(
                "expected a tokenizer of one token for each block of pixels, got one whose tokens "
                f"are a sequence of {self.tokens_per_image}. It takes images of its own size only"
            )
        if height % self.stride[0] or width % self.stride[1]:
            raise ValueError(
                f"expected multiples of the encoder's stride, {self.stride[0]} x "
                f"{self.stride[1]} pixels per token, got {height} x {width}"
            )
        grid = height // self.stride[0], width // self.stride[1]
        network = self.network
        if isinstance(network, ImportedNetwork):
            network = network.model_copy(update={"grid": grid})
        image = self.image.resized(height, width)
        update = {"image": image, "grid": grid, "network": network, "buckets": None}
        return self.model_copy(update=update)

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each bucket, in the order of the buckets; or of all images."""
        if self.buckets is None or self.stride is None:
            return (self.grid,)
        rows, columns = self.stride
        return tuple((height // rows, width // columns) for height, width in self.buckets)

    @property
    def of_first_bucket(self) -> "TokenContract":
        """The contract for images of the first bucket; itself without buckets."""
        return self if self.buckets is None else self.at_size(*self.buckets[0])

    @property
    def show_sizes(self) -> str:
        """Describes height and width of each bucket, or of all images, in words."""
        sizes = self.buckets or [self.image.shape[:2]]
        return " or ".join(f"{height} x {width}" for height, width in sizes)

    @property
    def show_grid(self) -> str:
        """Describes rows and columns of an image in words."""
        return " or ".join(f"{rows} x {columns}" for rows, columns in self.grids)

    @property
    def crop_note(self) -> str | None:
        """Says that a dataset has another crop than the tokenizer's own; None if it has not."""
        if self.fitted is self.image:
            return None
        return (
            f"{self.crop}, but the tokenizer was trained with {self.image.crop}: many tokens "
            "differ from those of its own crop"
        )

    @property
    def tokens_per_image(self) -> int:
        """Number of tokens per image: rows times columns."""
        return self.grid[0] * self.grid[1]

    @property
    def imported(self) -> bool:
        """Whether the networks were imported; then the weights file holds a reference batch."""
        return isinstance(self.network, ImportedNetwork)

    @property
    def has_decoder(self) -> bool:
        """Whether tokens can be decoded to images."""
        return not isinstance(self.network, ImportedNetwork) or self.network.decoder

    def to_json(self) -> str:
        """Renders tokenizer.json; the same contract gives the same bytes."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), indent=2) + "\n"
