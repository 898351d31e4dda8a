"""What a panel asks an engine for."""

from tests.helpers.fake_editor import NEEDLE
from tests.helpers.fake_engine import PROMPT


def test_a_requests_prompt_is_its_template_with_the_subject_in_it():
    assert NEEDLE.prompt == PROMPT
