"""Texts that mean harm, for everywhere a text of the user's or the model's is shown.

`harm` is defined nowhere, so that one that runs is an error of its page; one that is read as markup
makes an element, or asks `nowhere.invalid` for something.
"""

HARMFUL = (
    # Scripts.
    "<script>harm()</script>",
    "</script><script>harm()</script>",
    "<!--<script>",
    "--><script>harm()</script>",
    "<![CDATA[<script>harm()</script>]]>",
    "<SCRIPT SRC=//nowhere.invalid/x>",
    "<svg><script>harm()</script></svg>",
    "javascript:harm()",
    "vbscript:harm()",
    "data:text/html,<script>harm()</script>",
    # Elements that run or fetch something by themselves.
    "<img src=x onerror=harm()>",
    "<img src=//nowhere.invalid/x>",
    "<svg onload=harm()>",
    "<body onload=harm()>",
    "<iframe src=javascript:parent.harm()>",
    "<iframe srcdoc='<script>harm()'>",
    "<object data=//nowhere.invalid/x>",
    "<embed src=//nowhere.invalid/x>",
    "<video src=x onerror=harm()>",
    "<link rel=icon href=//nowhere.invalid>",
    "<meta http-equiv=refresh content=0>",
    "<base href=//nowhere.invalid/>",
    "<form action=//nowhere.invalid/>",
    "<input autofocus onfocus=harm()>",
    "<details open ontoggle=harm()>",
    "<a href=javascript:harm()>a</a>",
    "<math href=javascript:harm()>",
    # Ends of what may surround a text.
    '" onmouseover="harm()',
    "' autofocus onfocus='harm()",
    '"><img src=x onerror=harm()>',
    "</td></tr></table><img src=x>",
    "</textarea><img src=x onerror=harm()>",
    "</title><img src=x onerror=harm()>",
    "</bdi><b>bold</b>",
    "]]>",
    # Styles.
    "<style>*{display:none}</style>",
    "</style><style>.rw{display:none}",
    "}.rw{display:none}",
    "background:url(//nowhere.invalid/x)",
    "@import '//nowhere.invalid/x';",
    # Entities.
    "&lt;b&gt;",
    "&#60;img src=x onerror=harm()&#62;",
    "&amp;amp;",
    "&",
    # Templates and names that mean something to a language.
    "${harm()}",
    "`${harm()}`",
    "{{harm()}}",
    "{0.__class__}",
    "%s%n",
    "<!--?lit$1$-->",
    "lit$123456789$",
    "<?lit$123456789$>",
    "__proto__",
    "constructor",
    "toString",
    # Characters.
    "\u202egnp.exe",
    "\u2066\u202dx\u2069",
    "a\x1b[31m\x07\x00",
    "\ufeff\u200b\u2028",
    "half \ud800",
    "z\u0351\u0357\u033a\u0313\u0342\u0329\u035a",
    "👩\u200d👩\u200d👧\u200d👦",
    "הָאָרֶץ",
    "x" * 10_000,
)

_WRITTEN_OUT = {
    "\u202egnp.exe": "⟨202E⟩gnp.exe",
    "\u2066\u202dx\u2069": "⟨2066⟩⟨202D⟩x⟨2069⟩",
    "a\x1b[31m\x07\x00": "a␛[31m␇␀",
    "\ufeff\u200b\u2028": "⟨FEFF⟩⟨200B⟩⟨2028⟩",
    "half \ud800": "half \\ud800",
}

WRITTEN = tuple(_WRITTEN_OUT.get(each, each) for each in HARMFUL)
"""How each is read: what could not be seen, or would move its neighbours, is written out."""

LABELS = tuple(each if len(each) <= 40 else each[:39] + "…" for each in WRITTEN)
"""How each is read where it stands for a token."""

ON_THE_WIRE = tuple(each.replace("\ud800", "\\ud800") for each in HARMFUL)
"""Each as a page can hold it: JSON in UTF-8 has no half of a surrogate pair."""
