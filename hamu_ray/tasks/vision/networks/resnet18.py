"""ResNet-18 for small images, from torchvision's ResNet: the usual model of unlearning on CIFAR and SVHN."""

from torch import Tensor, nn

STEM = 64
"""Width of the first convolution."""


class ResNet18(nn.Module):
    """torchvision's ResNet-18 with a 3x3 convolution without pooling as its stem, for images of 32 to 64 pixels.

    For 3 channels it has 11,173,962 parameters with 10 classes, and 11,220,132 with 100. Parameter names are those of
    torchvision. Any image size is supported; the last stage runs at an eighth of each side.
    """

    def __init__(self, channels: int = 3, classes: int = 10) -> None:
        # Imported here: other models do not need it, and it takes seconds.
        from torchvision.models import resnet18

        super().__init__()
        network = resnet18(num_classes=classes)
        self.conv1 = nn.Conv2d(channels, STEM, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1, self.relu = network.bn1, network.relu
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            network.layer1,
            network.layer2,
            network.layer3,
            network.layer4,
        )
        self.avgpool, self.fc = network.avgpool, network.fc

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images ``(n, channels, h, w)`` to logits ``(n, classes)``."""
        hidden = self.relu(self.bn1(self.conv1(images)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            hidden = stage(hidden)
        return self.fc(self.avgpool(hidden).flatten(1))
