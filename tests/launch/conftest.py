import pytest
from launch_scripts import Checkout, make_checkout


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return make_checkout(tmp_path)
