"""ResNet-20 for small images: He et al. 2016 (arXiv:1512.03385), section 4.2."""

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64)
BLOCKS_PER_STAGE = 3


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (the paper's option A).

    With stride 2, the shortcut takes every other pixel and pads the new channels with zeros.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.new_channels = width - channels

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(n, channels, h, w)`` to ``(n, width, ceil(h / stride), ceil(w / stride))``."""
        hidden = functional.relu(self.norm1(self.conv1(inputs)), inplace=True)
        hidden = self.norm2(self.conv2(hidden))
        return functional.relu(hidden + self._shortcut(inputs), inplace=True)

    def _shortcut(self, inputs: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return inputs
        before = self.new_channels // 2
        sampled = inputs[:, :, :: self.stride, :: self.stride]
        return functional.pad(sampled, (0, 0, 0, 0, before, self.new_channels - before))


class ResNet20(nn.Module):
    """Three stages of three blocks, 16, 32 and 64 wide, after a 3x3 convolution without pooling.

    The paper's CIFAR networks use parameter-free shortcuts throughout, so that for 3 channels and 10 classes this has
    269,722 parameters. Any image size is supported; the last stage runs at a quarter of each side.
    """

    def __init__(self, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        blocks: list[nn.Module] = []
        width_before = WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            for block in range(BLOCKS_PER_STAGE):
                blocks.append(BasicBlock(width_before, width, stride=2 if stage > 0 and block == 0 else 1))
                width_before = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(WIDTHS[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Initialisation for ReLU, as in the paper (He et al. 2015, arXiv:1502.01852).
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images ``(n, channels, h, w)`` to logits ``(n, classes)``."""
        hidden = functional.relu(self.norm(self.conv(images)), inplace=True)
        return self.head(self.blocks(hidden).mean(dim=(2, 3)))
