import random

import pytest

from bhushgpt.errors import UserError
from bhushgpt.text_scores import bleu, rouge_l, rouge_n

WORDS = "the a Cat dog's sat on mat, and ran. then over log slept".split()


def pairs(count: int = 200) -> list[tuple[str, str]]:
    """Texts that share much, little or nothing, of 1 to 30 words."""
    generator = random.Random(7)
    made = []
    for _ in range(count):
        reference = generator.choices(WORDS, k=generator.randint(1, 30))
        text = [w if generator.random() < 0.7 else generator.choice(WORDS) for w in reference]
        del text[generator.randint(0, 3) : generator.randint(0, 4)]
        made.append((" ".join(text or ["what"]), " ".join(reference)))
    return made


def test_bleu_equals_sacrebleu_on_200_pairs() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    for text, reference in pairs():
        theirs = sacrebleu.sentence_bleu(
            text, [reference], tokenize="none", use_effective_order=False
        )
        assert bleu([text], [reference]) == pytest.approx(theirs.score, abs=1e-9)


def test_bleu_of_many_texts_pools_them_as_sacrebleu_does() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    texts, references = map(list, zip(*pairs(), strict=True))
    theirs = sacrebleu.corpus_bleu(texts, [references], tokenize="none")
    assert bleu(texts, references) == pytest.approx(theirs.score, abs=1e-9)
    mean = sum(bleu([t], [r]) for t, r in pairs()) / len(texts)
    assert abs(bleu(texts, references) - mean) > 1


def test_rouge_equals_rouge_score_on_200_pairs() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(
        ["rouge1", "rouge2", "rougeL"], use_stemmer=False
    )
    for text, reference in pairs():
        theirs = scorer.score(reference, text)
        ours = {
            "rouge1": rouge_n(text, reference, 1),
            "rouge2": rouge_n(text, reference, 2),
            "rougeL": rouge_l(text, reference),
        }
        for name, mine in ours.items():
            assert mine.precision == pytest.approx(theirs[name].precision, abs=1e-12)
            assert mine.recall == pytest.approx(theirs[name].recall, abs=1e-12)
            assert mine.f1 == pytest.approx(theirs[name].fmeasure, abs=1e-12)


def test_the_same_text_scores_all_and_another_nothing() -> None:
    text = "the cat sat on the mat"
    assert bleu([text], [text]) == pytest.approx(100)
    assert rouge_l(text, text).f1 == 1
    assert bleu(["dogs ran"], [text]) == 0 == rouge_n("dogs ran", text).f1


def test_what_cannot_be_compared_is_said() -> None:
    for call in (
        lambda: bleu(["a"], [""]),
        lambda: rouge_n("a", " "),
        lambda: rouge_l("a", ""),
    ):
        with pytest.raises(UserError, match="is empty"):
            call()
    with pytest.raises(UserError, match="2 texts and 1 references"):
        bleu(["a", "b"], ["a"])
    with pytest.raises(UserError, match="not one string"):
        bleu("a", "a")
    with pytest.raises(UserError, match="no text to score"):
        bleu([], [])
