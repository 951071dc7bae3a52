"""Which of ComfyUI's renderers a test runs in, if not in both."""

import pytest

# for tests that take long, where a shorter one looks at the same panels in both
vue_alone = pytest.mark.parametrize("page", [True], ids=["vue"], indirect=True, scope="module")
