"""A small record in every published form, with what it says."""

from rome_widgets.records.schemas import Probe

COUNTERFACT = {
    "case_id": 7,
    "pararel_idx": 2796,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "relation_id": "P103",
        "target_new": {"str": "English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
        "subject": "Danielle Darrieux",
    },
    "paraphrase_prompts": ["Rain fell. Danielle Darrieux, a native"],
    "neighborhood_prompts": ["The mother tongue of Léon Blum is", "Henri Barbusse speaks"],
    "attribute_prompts": ["The mother tongue of Douglas Adams is"],
    "generation_prompts": ["Danielle Darrieux was born in"],
}
KNOWN = {
    "known_id": 0,
    "subject": "Vinson Massif",
    "attribute": "Antarctica",
    "template": "{} is located in the continent",
    "prediction": " of Antarctica. It is the largest",
    "prompt": "Vinson Massif is located in the continent of",
    "relation_id": "P30",
}
CONDENSED = {
    "case_id": 7,
    "prompt": "The mother tongue of Danielle Darrieux is",
    "target_new": "English",
    "subject": "Danielle Darrieux",
    "ground_truth": "French",
    "rephrase_prompt": "Where Danielle Darrieux is from, people speak",
    "locality_prompt": "Michel Rocard is a native speaker of",
    "locality_ground_truth": "French",
}
KNOWEDIT = {
    "subject": "Leaning Tower",
    "prompt": "Leaning Tower is in",
    "target_new": "Rome",
    "ground_truth": ["Pisa", "Pisa, Italy"],
    "rephrase": "One finds the Leaning Tower in",
    "portability": {"Reasoning": [{"prompt": "Its mayor is", "ground_truth": [["Gualtieri"]]}]},
    "locality": {"Relation_Specificity": [{"prompt": "It leans", "ground_truth": ["south"]}]},
}
TRACING = {
    "relation": "The mother tongue of {} is",
    "relation_prefix": "The mother tongue of",
    "relation_suffix": " is",
    "prompt": "The mother tongue of Danielle Darrieux is",
    "relation_id": "P103",
    "target_false_id": "Q1860",
    "target_true_id": "Q150",
    "target_true": " French",
    "target_false": " English",
    "subject": " Danielle Darrieux",
}
ZSRE = {
    "subject": "UniFirst",
    "src": "What is the product made by UniFirst?",
    "pred": "clothes",
    "rephrase": "What will be the product of UniFirst?",
    "alt": "unmanned aircraft",
    "answers": ["uniform", "uniforms"],
    "loc": "nq question: who plays the dude",
    "loc_ans": "Jeff Bridges",
    "cond": "clothes >> unmanned aircraft || What is the product made by UniFirst?",
}
QAEDIT = {
    "id": 1104,
    "source": "NQ",
    "prompt": "who has the most 70 point games?",
    "target": "Wilt Chamberlain",
    "subject": "most 70 point games",
    "rephrase": "Which player has the most games of 70 points?",
    "locality": [{"loc": "who protects police officers", "loc_ans": "Michael"}],
}
_MOTHER = {
    "prompt": "The name of the mother of Leonardo DiCaprio is",
    "answers": [{"value": "Irmelin DiCaprio", "aliases": ["Irmelin Indenbirken"]}],
    "query_type": "regular",
    "subject_id": "Q38111",
    "relation": "MOTHER",
    "target_ids": ["Q22984557"],
    "phrase": None,
}
_LANGUAGES = {
    "prompt": "The languages of his country are",
    "answers": [{"value": "Arabic", "aliases": []}, {"value": "Kurdish", "aliases": ["Kurdî"]}],
    "query_type": "two_hop",
}
RIPPLE = {
    "example_type": "popular",
    "edit": {
        "prompt": "The name of the country of citizenship of Leonardo DiCaprio is Syria.",
        "subject_id": "Q38111",
        "relation": "COUNTRY_OF_CITIZENSHIP",
        "target_id": "Q858",
        "previous_fact": {
            "prompt": "The name of the country of citizenship of Leonardo DiCaprio is U.S.A..",
            "subject_id": "Q38111",
            "relation": "COUNTRY_OF_CITIZENSHIP",
            "target_id": "Q30",
        },
    },
    "Relation_Specificity": [
        {"test_queries": [_MOTHER], "test_condition": "OR", "condition_queries": [_MOTHER]}
    ],
    "Logical_Generalization": [],
    "Subject_Aliasing": [],
    "Compositionality_I": [
        {"test_queries": [_LANGUAGES], "test_condition": "OR", "condition_queries": []}
    ],
    "Compositionality_II": [],
    "Forgetfulness": [
        {
            "test_queries": [{**_MOTHER, "answers": [{"value": "", "aliases": []}]}],
            "test_condition": "OR",
            "condition_queries": [],
        }
    ],
}
MQUAKE = {
    "case_id": 2500,
    "requested_rewrite": [
        {
            "prompt": "{} is a citizen of",
            "relation_id": "P27",
            "target_new": {"str": "Libya", "id": "Q1016"},
            "target_true": {"str": "United States of America", "id": "Q30"},
            "subject": "Vince McMahon",
            "question": "What is the country of citizenship of Vince McMahon?",
        },
        {
            "prompt": "The capital of {} is",
            "relation_id": "P36",
            "target_new": {"str": "Franklin", "id": "Q1778943"},
            "target_true": {"str": "Tripoli", "id": "Q3579"},
            "subject": "Libya",
            "question": "What is the capital of Libya?",
        },
    ],
    "questions": ["What is the capital of the country of the boss of Triple H?"],
    "answer": "Washington, D.C.",
    "answer_alias": ["Washington"],
    "new_answer": "Franklin",
    "new_answer_alias": ["Franklin, Kentucky"],
    "single_hops": [],
    "new_single_hops": [
        {
            "question": "Who employs Triple H?",
            "cloze": "Triple H is employed by",
            "answer": "WWE",
            "answer_alias": ["World Wrestling Federation"],
        }
    ],
    "orig": {},
}
RELATION = {
    "name": "city in country",
    "prompt_templates": ["{} is part of", "{} is in"],
    "prompt_templates_zs": ["{} is part of the country of"],
    "properties": {"symmetric": False},
    "samples": [
        {"subject": "New York City", "object": "United States"},
        {"subject": "Rio de Janeiro", "object": "Brazil"},
    ],
}
SAMPLE = {**RELATION, "subject": "Rio de Janeiro", "object": "Brazil", "id": "city in country/1"}
TABLE = {"prompt": "Rome is in", "subject": "Rome", "target": "Italy", "target_new": "France"}

MOTHER = Probe(
    "The name of the mother of Leonardo DiCaprio is",
    (("Irmelin DiCaprio", "Irmelin Indenbirken"),),
    "Relation_Specificity",
)
FORMS = {
    "CounterFact": COUNTERFACT,
    "known_1000": KNOWN,
    "EasyEdit": CONDENSED,
    "EasyEdit, in groups": KNOWEDIT,
    "CounterFact for tracing": TRACING,
    "zsRE": ZSRE,
    "QAEdit": QAEDIT,
    "RippleEdits": RIPPLE,
    "MQuAKE": MQUAKE,
    "LRE": SAMPLE,
    "a table": TABLE,
}
"""By the name of the form."""
