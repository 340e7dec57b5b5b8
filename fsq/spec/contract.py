"""Token contract: what a token means, as the JSON beside every tokenizer and dataset."""

import hashlib
import json
from typing import Annotated, Literal, Self

import pydantic

from fsq.images.crops import CROPS
from fsq.images.spec import CropName, ImageSpec
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

    So is `crop`, if its images were not fitted as the tokenizer's own crop policy says.
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
        return self

    @property
    def meaning_sha256(self) -> str:
        """sha256 of all fields but the weights' and a dataset's; stored in the weights file."""
        others = {"weights_sha256", "views", "crop", "dtype"}
        content = self.model_dump(mode="json", exclude_none=True, exclude=others)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def fitted(self) -> ImageSpec:
        """How the images of a dataset are fitted: as the tokenizer says, or by another crop."""
        if self.crop in (None, self.image.crop):
            return self.image
        resize = CROPS[self.crop].resize or self.image.resize
        return self.image.model_copy(update={"crop": self.crop, "resize": resize})

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
