import pytest

from tests.reports.front.summaries import SUMMARIES


@pytest.fixture(params=SUMMARIES.values(), ids=SUMMARIES.keys())
def summary(request):
    """Each of the summaries to draw, one after the other."""
    return request.param
