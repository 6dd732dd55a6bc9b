"""ViT-tiny for small images, from transformers' ViT."""

from torch import Tensor, nn

GRID = 8
"""Patches along each side of an image: 4 pixels wide for images of 32 pixels, 8 pixels for images of 64."""


class ViTTiny(nn.Module):
    """The vision transformer of size *tiny* (DeiT, arXiv:2012.12877): 12 layers, 192 wide, 3 heads.

    The image is cut into 8x8 patches, whatever its size, so that for images of 3x32x32 and 10 classes it has 5,362,762
    parameters. With ``patch=16``, images of 224 pixels and 1,000 classes it is DeiT-tiny with its 5,717,416. Parameter
    names are those of `ViTForImageClassification`.

    Raises:
        ValueError: The images are not squares that can be cut into patches.
    """

    def __init__(
        self, channels: int = 3, classes: int = 10, size: tuple[int, int] = (32, 32), patch: int | None = None
    ) -> None:
        height, width = size
        multiple = patch or GRID
        if height != width or height % multiple:
            raise ValueError(
                f"data.image_size: vit-tiny needs square images whose side is a multiple of {multiple} pixels, the "
                f"data have {width}x{height}; set it"
            )
        # Imported here: other models do not need it, and it takes seconds.
        from transformers import ViTConfig, ViTForImageClassification

        super().__init__()
        config = ViTConfig(
            hidden_size=192,
            num_hidden_layers=12,
            num_attention_heads=3,
            intermediate_size=768,
            image_size=height,
            patch_size=patch or height // GRID,
            num_channels=channels,
        )
        config.num_labels = classes
        network = ViTForImageClassification(config)
        self.vit, self.classifier = network.vit, network.classifier

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images ``(n, channels, h, w)`` to logits ``(n, classes)``."""
        return self.classifier(self.vit(images).last_hidden_state[:, 0])
