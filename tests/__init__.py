"""The tests; what fails in these helpers shows its values as well."""

import pytest

pytest.register_assert_rewrite("tests.support.replay")
