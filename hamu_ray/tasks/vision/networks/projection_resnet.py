"""ResNet-20 with projection shortcuts, from transformers' ResNet: the model of the HAMU paper's experiments."""

from torch import Tensor, nn

from hamu_ray.tasks.vision.networks.resnet import BLOCKS_PER_STAGE, WIDTHS


class ProjectionResNet20(nn.Module):
    """transformers' ResNet with ResNet-20's size, and a 3x3 convolution without pooling for small images.

    Shortcuts of blocks that change the shape are 1x1 convolutions with BatchNorm (option B of He et al. 2016,
    arXiv:1512.03385), so that for 3 channels and 10 classes it has 272,474 parameters in 65 tensors, 2,752 more than
    `ResNet20`. Parameter names are those of `ResNetForImageClassification`, so that checkpoints of such a model written
    by ``save_pretrained`` fit.
    """

    def __init__(self, channels: int = 3, classes: int = 10) -> None:
        # Imported here: other models do not need it, and it takes seconds.
        from transformers import ResNetConfig, ResNetForImageClassification
        from transformers.models.resnet.modeling_resnet import ResNetConvLayer

        super().__init__()
        config = ResNetConfig(
            num_channels=channels,
            embedding_size=WIDTHS[0],
            hidden_sizes=list(WIDTHS),
            depths=[BLOCKS_PER_STAGE] * len(WIDTHS),
            layer_type="basic",
            downsample_in_first_stage=False,
        )
        config.num_labels = classes
        network = ResNetForImageClassification(config)
        self.resnet, self.classifier = network.resnet, network.classifier
        # The configuration of transformers supports only a 7x7 stem convolution of stride 2 with pooling.
        stem = ResNetConvLayer(channels, WIDTHS[0], kernel_size=3, stride=1)
        nn.init.kaiming_normal_(stem.convolution.weight, mode="fan_out", nonlinearity="relu")
        self.resnet.embedder.embedder = stem
        self.resnet.embedder.add_module("pooler", nn.Identity())

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images ``(n, channels, h, w)`` to logits ``(n, classes)``."""
        return self.classifier(self.resnet(images).pooler_output)
