"""Prompts: what is put around a question, and what makes a model another one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruner.errors import InputError
from pruner.prompts import BytePrompts, ChatPrompts, RecordedPrompts, check_model_folder, path_fingerprint
from pruner.records.traces import Problem
from pruner.settings.model import PromptConfig


class Tokenizer:
    """Remembers the conversation that it is given; its tokens are the lengths of the turns."""

    def apply_chat_template(self, messages, **options):
        self.messages, self.options = messages, options
        return [len(message["content"]) for message in messages]

    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        return list(text.encode())


def turns(config, question="1+1?"):
    """Return the conversation of a question as (role, content), and the template's options."""
    tokenizer = Tokenizer()
    prompt = ChatPrompts(tokenizer, config).encode_problem(Problem("p", 0, question, None))
    assert prompt == tuple(len(message["content"]) for message in tokenizer.messages)
    return [(message["role"], message["content"]) for message in tokenizer.messages], tokenizer.options


def test_a_bare_question_is_the_only_turn():
    found, options = turns(PromptConfig())
    assert found == [("user", "1+1?")]
    assert options["add_generation_prompt"] and options["tokenize"]


def test_system_text_comes_first_and_the_instruction_stands_below_every_question():
    shots = ({"question": "2+2?", "reply": "4"}, {"question": "3+3?", "reply": "6"})
    values = {"system": "Be brief.", "instruction": "Box it.", "few_shot": shots}
    found, options = turns(PromptConfig(**values, template_kwargs={"enable_thinking": False}))
    assert found == [
        ("system", "Be brief."),
        ("user", "2+2?\nBox it."),
        ("assistant", "4"),
        ("user", "3+3?\nBox it."),
        ("assistant", "6"),
        ("user", "1+1?\nBox it."),
    ]
    assert options["enable_thinking"] is False


@given(st.text(), st.text())
def test_tokens_of_bytes_continue_a_prompt_and_are_never_zero(left, right):
    prompts = BytePrompts()
    assert prompts.encode_problem(Problem("p", 0, left, None)) + prompts.encode_text(right) == prompts.encode_text(
        left + right
    )
    assert all(1 <= token <= 256 for token in prompts.encode_text(left))


def test_of_a_recorded_prompt_only_the_length_is_known():
    prompts = RecordedPrompts({"p": 3, "unknown": 0}.__getitem__)
    lengths = [prompts.encode_problem(Problem(name, 0, "q", None)) for name in ("p", "unknown")]
    assert lengths == [(0, 0, 0), ()]
    with pytest.raises(AssertionError):
        prompts.encode_text("more")


def test_a_path_without_a_model_is_refused_and_a_hub_id_is_not(tmp_path):
    with pytest.raises(InputError, match=r"model\.path: got '.*', expected a model folder"):
        check_model_folder(str(tmp_path), "model.path")
    with pytest.raises(InputError, match="judge"):
        check_model_folder("./nowhere", "judge.path")
    check_model_folder("somebody/a-model", "model.path")
    (tmp_path / "config.json").write_text("{}")
    check_model_folder(str(tmp_path), "model.path")


def test_a_fingerprint_is_of_what_is_read_for_a_model_and_of_nothing_else(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = path_fingerprint(str(tmp_path))
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "runs").mkdir()
    assert path_fingerprint(str(tmp_path)) == before
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    with_template = path_fingerprint(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert len({before, with_template, path_fingerprint(str(tmp_path))}) == 3


def test_a_change_far_into_large_weights_changes_the_fingerprint(tmp_path):
    weights = bytearray(3 << 20)
    (tmp_path / "model.bin").write_bytes(weights)
    before = path_fingerprint(str(tmp_path))
    weights[(2 << 20) + 12_345] = 1
    (tmp_path / "model.bin").write_bytes(weights)
    assert path_fingerprint(str(tmp_path)) != before


def test_a_model_on_the_hub_is_its_name_and_revision():
    assert path_fingerprint("somebody/a-model") == "somebody/a-model@main"
    assert path_fingerprint("somebody/a-model", "v2") == "somebody/a-model@v2"


def test_a_template_that_asks_for_the_date_is_told_the_same_one_every_day():
    _, options = turns(PromptConfig(date="2025-08-05"))
    assert options["strftime_now"]("%Y-%m-%d") == "2025-08-05"
    from jinja2 import Environment

    # As transformers renders templates: what it is given goes before its own function of that name.
    template = Environment().from_string("Today is {{ strftime_now('%d %b %Y') }}.")
    template.globals["strftime_now"] = lambda form: "today"
    assert template.render(strftime_now=options["strftime_now"]) == "Today is 05 Aug 2025."
