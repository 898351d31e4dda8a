"""Files of published data sets and tokenizers beside the repository, where they are."""

from pathlib import Path

from rome_widgets.model.tokens import encode_prompt

PLACE = Path(__file__).parents[3] / "shared" / "data"
MISSING = "" if PLACE.exists() else f"the published files are not in {PLACE}"


def wrong_spans(tokenizer, records):
    """Texts of the records whose subject is not what its tokens say, or said by fewer of them."""
    return [record.text for record in records if not spans_subject(tokenizer, record)]


def spans_subject(tokenizer, record):
    """The tokens of the span say the subject, and those without the first or the last do not."""
    start = record.subject_start
    chars = (start, start + len(record.subject))
    found = encode_prompt(tokenizer, record.text, chars)
    begin, end = found.subject_span

    def say(begin, end):
        return record.subject in tokenizer.decode(found.ids[begin:end])

    return say(begin, end) and not say(begin + 1, end) and not say(begin, end - 1)
