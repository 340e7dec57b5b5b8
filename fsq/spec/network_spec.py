"""Network specs: the architecture of encoder and decoder, as part of the token contract."""

from typing import Annotated, Literal, Self

import pydantic

Width = Annotated[int, pydantic.Field(ge=1, le=4096)]
Widths = Annotated[tuple[Width, ...], pydantic.Field(min_length=1, max_length=6)]
Side = Annotated[int, pydantic.Field(ge=1, le=4096)]
ImageLayout = Literal["channels_last", "channels_first"]
LatentLayout = Literal["channels_last", "channels_first", "flat"]
Blocks = Annotated[int, pydantic.Field(ge=0, le=64)]


class _Network(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class ConvNetwork(_Network):
    """The small architecture: strided convolutions, cheap enough for a CPU.

    Attributes:
      encoder_widths: Channels after each stride-2 stage; as many stages as the
        downsampling has factors of 2.
      encoder_blocks: Residual blocks at the encoder's lowest resolution.
      decoder_widths: Channels before each upsampling stage, lowest resolution first.
      decoder_blocks: Residual blocks at the decoder's lowest resolution.
    """

    kind: Literal["conv"] = "conv"
    encoder_widths: Widths
    encoder_blocks: Blocks = 0
    decoder_widths: Widths
    decoder_blocks: Blocks = 2

    @pydantic.model_validator(mode="after")
    def _stages_match(self) -> Self:
        if len(self.encoder_widths) != len(self.decoder_widths):
            raise ValueError(
                f"expected as many decoder_widths as encoder_widths, "
                f"got {len(self.decoder_widths)} and {len(self.encoder_widths)}"
            )
        return self

    @property
    def downsampling(self) -> int:
        """Pixels per token along each side."""
        return 1 << len(self.encoder_widths)


class ResidualNetwork(_Network):
    """The medium and large architecture: residual blocks with normalization and swish.

    The architecture of VQGAN (Esser et al. 2021, arXiv:2012.09841), which most
    image tokenizers use; the decoder mirrors the encoder.

    Attributes:
      widths: Channels at each resolution, full resolution first; one more than
        the downsampling has factors of 2.
      blocks: Residual blocks per resolution; the decoder has one more.
      attention: Self-attention at the lowest resolution (the large architecture).
      norm: 'group' (over groups of channels and all positions) or 'layer' (over
        all channels of a position). Both are independent of the batch.
      groups: Number of groups of 'group'; must divide every width.
    """

    kind: Literal["residual"]
    widths: Annotated[tuple[Width, ...], pydantic.Field(min_length=2, max_length=7)]
    blocks: Annotated[int, pydantic.Field(ge=1, le=64)] = 2
    attention: bool = False
    norm: Literal["group", "layer"] = "group"
    groups: Annotated[int, pydantic.Field(ge=1)] = 8

    @pydantic.model_validator(mode="after")
    def _groups_divide(self) -> Self:
        odd = [width for width in self.widths if width % self.groups]
        if self.norm == "group" and odd:
            raise ValueError(f"expected widths divisible by groups, {self.groups}, got {odd[0]}")
        return self

    @property
    def downsampling(self) -> int:
        """Pixels per token along each side."""
        return 1 << (len(self.widths) - 1)


class ImportedNetwork(_Network):
    """Networks trained elsewhere, saved as graphs in the weights file; see `fsq import`.

    Attributes:
      kind: A TensorFlow graph, or an ONNX model.
      grid: Rows and columns of tokens.
      images: Where images have their channels, [B, H, W, C] or [B, C, H, W].
      latents: Where latents and codes have theirs: [B, rows, columns, D],
        [B, D, rows, columns], or 'flat' for [B, rows * columns, D].
      decoder: Whether there is a decoder.
    """

    kind: Literal["tensorflow", "onnx"]
    grid: tuple[Side, Side]
    images: ImageLayout
    latents: LatentLayout
    decoder: bool


NetworkSpec = Annotated[ConvNetwork | ResidualNetwork, pydantic.Field(discriminator="kind")]
