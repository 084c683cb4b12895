import pytest

from bhushgpt.errors import UserError, nearest


def test_a_user_error_is_a_value_error():
    with pytest.raises(ValueError, match="what came"):
        raise UserError("what came")


def test_a_close_name_is_asked_for_and_all_names_are_listed_in_order():
    words = ["gpt-v1", "bigram", "gpt-v1-large"]
    assert nearest("bigrm", words) == (
        "Did you mean 'bigram'? There are: bigram, gpt-v1, gpt-v1-large."
    )


def test_a_far_name_is_not_guessed():
    assert nearest("zzz", iter(["b", "a"])) == "There are: a, b."


def test_capitals_do_not_hide_a_name():
    assert nearest("SHERLOK", ["Sherlock", "bible"]).startswith("Did you mean 'Sherlock'?")
