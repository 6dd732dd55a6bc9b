from matplotlib.image import imread

from hamu_ray.reports.front.palette import DASHES, MARKERS
from hamu_ray.reports.front.picture import LINE_STYLES, MATPLOTLIB_MARKERS, write_png


def test_matplotlib_has_a_name_for_every_marker_and_dash():
    assert set(MARKERS) == set(MATPLOTLIB_MARKERS)
    assert set(DASHES) == set(LINE_STYLES)


def test_png(summary, tmp_path):
    picture = imread(write_png(tmp_path / "deep" / "front.png", summary))
    height, width = picture.shape[:2]
    assert width > 1200
    assert height > 900
    for edge in (picture[:8], picture[-8:], picture[:, :8], picture[:, -8:]):  # nothing is clipped
        assert (edge[..., :3] == 1).all()
