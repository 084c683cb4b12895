"""The review deck has every exercise, and its answers come from the exercises."""

from bhushgpt.exercises.nb04_bigram import loss_by_hand
from bhushgpt.exercises.passport import PLACES
from tools.review_deck import cards, identity


def test_every_exercise_has_a_card_with_a_question_and_an_answer() -> None:
    made = cards()
    assert [card.place for card in made] == [str(place) for place in PLACES]
    assert all(card.question and card.answer for card in made)
    assert len({card.answer for card in made}) == len(made)


def test_the_answer_is_what_solution_prints(capsys) -> None:
    card = next(card for card in cards() if card.place == "04/loss_by_hand")
    loss_by_hand.solution()
    assert card.answer == capsys.readouterr().out.strip()
    assert card.question == loss_by_hand.question


def test_identities_stay() -> None:
    assert identity("bhushgpt") == 1372456301  # another one makes a second deck for who has it
    assert identity("bhushgpt") != identity("bhushgpt exercise")
