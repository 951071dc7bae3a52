"""What several files of tests start from."""

import pytest

from tests.demo import small_models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Encoders and a transformer, tiny and with random weights, as the command line reads them."""
    folder = tmp_path_factory.mktemp("models")
    small_models.write_encoders(folder / "encoders")
    small_models.write_transformer(folder / "transformer.safetensors")
    return folder
