"""ADM: halved by a box filter while twice as large, resampled to cover, cut from the centre.

Sources: `center_crop_arr` of guided-diffusion (Dhariwal and Nichol 2021, arXiv:2105.05233), which
LlamaGen, DiT and their successors use, and of which the reference batches of FID are made. With
Lanczos, the same arithmetic as Infinity (arXiv:2412.04431) fits its images, but for the halving.
For results that are not square, as Chameleon's image processor generalizes it.
"""

from fsq.images.crops.base import CropPolicy, Resize
from fsq.images.placement import Placement


class AdmCrop(CropPolicy):
    """The crop of ADM, with one of two filters for the last step."""

    def __init__(self, name: str, resize: Resize):
        self.name, self.resize = name, resize

    def place(self, source_width: int, source_height: int, width: int, height: int) -> Placement:
        """Returns the placement; see `CropPolicy.place`."""
        halvings = 0
        while source_width >= 2 * width and source_height >= 2 * height:
            source_width, source_height = source_width // 2, source_height // 2
            halvings += 1
        scale = max(width / source_width, height / source_height)
        canvas_width, canvas_height = round(source_width * scale), round(source_height * scale)
        return Placement(
            halvings,
            None,
            canvas_height,
            canvas_width,
            top=(canvas_height - height) // 2,
            left=(canvas_width - width) // 2,
        )


ADM = AdmCrop("adm", "bicubic")
ADM_LANCZOS = AdmCrop("adm_lanczos", "lanczos")
