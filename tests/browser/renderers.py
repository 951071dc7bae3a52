"""Which of ComfyUI's renderers a test runs in, if not in both."""

import pytest

# for tests that take long, of what the renderers do not draw
vue_alone = pytest.mark.parametrize("page", [True], ids=["vue"], indirect=True, scope="module")
