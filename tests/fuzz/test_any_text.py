"""Words of texts: no letter is lost, in any script."""
import unicodedata
from collections import Counter

from hypothesis import strategies as st

from noisykit.data.texts import tokens_of, vocabulary_of, words
from strategies import fuzz

# scripts with marks, without spaces, from right to left; emoji, joiners, and what looks like letters
SCRIPTS = ["abcé'’_-. 12", "ÄÖßİıſǅ", "नमस्ते हिन्दी", "สวัสดีครับ", "မြန်မာ", "日本語のテキスト。、", "한국어", 
           "العَرَبِيَّة", "עִבְרִית", "e\u0301o\u0308\u0323",
           "\u200c\u200d\u200b\ufeff", "👩\u200d👩\u200d👧🇩🇪👍🏽❤\ufe0f☺", "ⅷ½²①", "𝔘𝔫𝔦", "\u0345ͅ", "〆々ー"]
TEXTS = st.lists(st.sampled_from(SCRIPTS).flatmap(lambda letters: st.text(letters, max_size=8)) | st.text(max_size=4),
                 max_size=4).map("".join)

def letters_of(text):
    "Letters, digits and the marks on them, as they are compared"
    plain = unicodedata.normalize("NFC", text.lower())
    return Counter(letter for letter in plain if letter.isalnum())

@fuzz(200, text=TEXTS)
def test_letters_in_letters_kept(text):
    "Each letter of a text stands in its words; no word is empty or has a space in it"
    found = words(text)
    assert all(word and not any(map(str.isspace, word)) for word in found)
    assert letters_of(text) <= Counter("".join(found))
    known = vocabulary_of([text], 1000)
    tokens = tokens_of([text], known, max(len(found), 1))[0].tolist()
    assert [word for token in tokens for word, number in known.items() if number == token] == found
