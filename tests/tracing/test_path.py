"""The path: greed as the slow reference has it, nothing superfluous, and near the optimum."""

import functools
import itertools
import threading

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets import bundled
from rome_widgets.errors import Cancelled, ModelChanged, StateError, UnsupportedModel
from rome_widgets.records.explanations import RestoringPath
from rome_widgets.records.states import KINDS, State
from rome_widgets.tracing.path import Budget, PathSearch
from rome_widgets.tracing.tracer import CausalTracer
from tests.helpers import reference, tiny
from tests.helpers.counts import PATH_CANDIDATES, PATH_FACTS, pairs
from tests.helpers.gates import write_gate

IDS, SPAN, LAST = [int(word[1:]) for word in tiny.PROMPT.split()], (1, 3), 6
SEEDS = {"gpt2": 0, "gptj": 2, "neox": 3, "llama": 1}
"""Random models of which the corruption takes a fifth of the probability or more away."""


def setting(family="gpt2", *, engine="replay"):
    """A tracer and the reference's arguments."""
    lm = tiny.shared_lm(family, scale=40, dtype=torch.float64, seed=SEEDS[family], engine=engine)
    std = 3 * float(lm.model.get_input_embeddings().weight.detach().std())
    noise = reference.draws(1, tiny.SAMPLES, 2, tiny.D_MODEL, std)
    tracer = CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise.numpy())
    assert tracer.clean - tracer.corrupted > 0.2
    return tracer, (lm.model, tiny.NAMES[family], IDS, SPAN, noise)


def enough(tracer, share):
    return tracer.corrupted + share * (tracer.clean - tracer.corrupted)


EVERY_CANDIDATE = [
    State(pos, layer, kind)
    for pos in range(SPAN[0], LAST)
    for layer in range(tiny.N_LAYERS - 1)
    for kind in KINDS
]


@functools.cache
def expected_path(family, share):
    """The reference's path, once: every step is a whole pass for each of the candidates."""
    tracer, arguments = setting(family)
    return reference.greedy_path(*arguments, tracer.answer_id, EVERY_CANDIDATE, share)


def check_greed(family, engine, share):
    tracer, _ = setting(family, engine=engine)
    told = []
    path = tracer.find_path(share, progress=told.append)
    expected, probability = expected_path(family, share)
    grown = told[: len(expected)]
    assert [each.states for each in grown] == [
        tuple(expected[: n + 1]) for n in range(len(expected))
    ]
    assert grown[-1].scores[-1] == pytest.approx(probability, rel=1e-9)
    assert [each.reached for each in grown] == [False] * (len(expected) - 1) + [True]
    return tracer, path


def check_path(tracer, path, share):
    """It reaches the target, needs each of its states, and says what restoring them gives."""
    assert (path.reached, path.target, path.answer) == (True, share, tracer.answer)
    assert path.recovery >= share - 1e-9
    for n, said in enumerate(path.scores, start=1):
        restored = tracer.restore(path.states[:n]).probability
        assert said == pytest.approx(restored, rel=1e-6)
    for state in path.states:
        without = [each for each in path.states if each != state]
        assert tracer.restore(without).probability < enough(tracer, share)
    assert all(np.diff([tracer.corrupted, *path.scores]) > 0)
    last = len(tracer.tokens) - 1
    for state in path.states:
        assert tracer.subject_span[0] <= state.pos < last


@pytest.mark.parametrize(
    ("family", "engine", "share"), pairs(tiny.FAMILIES, ["replay", "whole passes"], [0.5, 0.9])
)
def test_greed_takes_what_the_reference_takes_and_nothing_of_the_end_is_superfluous(
    family, engine, share
):
    check_path(*check_greed(family, engine, share), share)


def _worst_first(monkeypatch):
    best = PathSearch._best_of

    def worst(self, sets):
        best(self, sets)
        found = self._measure(sets)
        return int(found.argmin()), float(found.min())

    monkeypatch.setattr(PathSearch, "_best_of", worst)


def _one_kind_only(monkeypatch):
    pool = CausalTracer._candidates
    monkeypatch.setattr(
        CausalTracer, "_candidates", lambda self, kinds, among: pool(self, ("attn",), among)
    )


def _the_last_token_too(monkeypatch):
    monkeypatch.setattr(
        CausalTracer,
        "_candidates",
        lambda self, kinds, among: [*EVERY_CANDIDATE, State(LAST, 4, "hidden")],
    )


@pytest.mark.parametrize("plant", [_worst_first, _one_kind_only, _the_last_token_too])
def test_a_planted_mistake_turns_the_equality_red(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_greed("gpt2", "replay", 0.9)


A, B, C, D = (State(1, layer, "mlp") for layer in range(4))


def made(sets, check):
    """A world of three states, in which greed starts with one that the best pair does without."""
    table = {
        frozenset(): 0.0,
        frozenset({A}): 0.5,
        frozenset({B}): 0.4,
        frozenset({C}): 0.3,
        frozenset({A, B}): 0.7,
        frozenset({A, C}): 0.6,
        frozenset({B, C}): 0.95,
        frozenset({A, B, C}): 1.0,
    }
    check()
    return np.array([table[frozenset(each)] for each in sets])


def made_path(share=0.9, most=20, measure=made, candidates=(A, B, C), **options):

    empty = RestoringPath((), (), "x", 1.0, 0.0, share, False, 0)
    return PathSearch(measure, candidates, empty, most, **options).run()


def test_a_state_that_greed_took_first_is_dropped_where_the_others_do():
    told = []
    path = made_path(progress=told.append)
    assert [each.states for each in told] == [
        (A,),
        (A, B),
        (A, B, C),
        (B, C),
    ]
    assert path.states == (B, C)
    assert path.scores == (0.4, 0.95)
    assert path.reached
    # Greed 3 + 2 + 1, dropping 3 + 2, order 2 + 1; then nothing for the pair, and A for it.
    assert path.n_restored == 6 + 5 + 3 + 2


def test_one_state_is_taken_for_two_where_that_is_enough():
    """D is weak alone and enough with B, which greed, on its way over A, B and C, does not see."""
    worth = {A: 0.5, B: 0.3, C: 0.25, D: 0.0}

    def measure(sets, check):
        return np.array(
            [
                0.96 if set(each) == {B, D} else min(0.99, sum(worth[s] for s in each))
                for each in sets
            ]
        )

    told = []
    path = made_path(measure=measure, candidates=(A, B, C, D), progress=told.append)
    assert told[2].states == (A, B, C)
    assert path.states == (B, D)
    assert path.scores == (0.3, 0.96)


@pytest.mark.parametrize(
    ("first", "states"),
    [
        ((C, B), (B, C)),  # Enough as it is.
        ((A, B, C), (B, C)),  # More than is needed.
        ((A,), (B, C)),  # Too little: greed goes on from there.
        ((C,), (B, C)),
        ((), (B, C)),
    ],
)
def test_a_path_of_fewer_draws_is_tried_first_and_is_not_the_last_word(first, states):
    found = made_path(first=first)
    assert (found.states, found.reached) == (states, True)
    alone = made_path()
    assert found.scores == alone.scores
    if set(first) >= set(states):
        assert found.n_restored < alone.n_restored


def test_a_path_over_many_draws_is_searched_over_few_and_holds_over_all(bundled_lm):
    fact = "The Space Needle is in the city of", "The Space Needle"
    tracer = CausalTracer(bundled_lm, *fact, samples=30)
    told = []
    path = tracer.find_path(0.9, progress=told.append)
    assert path.reached
    assert tracer.restore(path.states).probability == pytest.approx(path.score, abs=1e-6)
    assert path.corrupted == tracer.corrupted
    for state in path.states:
        others = [each for each in path.states if each != state]
        assert tracer.restore(others).recovery < 0.9
    assert_true(tracer, told)


def assert_true(tracer, told):
    """Each set that a search told of brings back what was said of it, over all draws."""
    assert told
    for path in told:
        for n, said in enumerate(path.scores, start=1):
            assert tracer.restore(path.states[:n]).probability == pytest.approx(said, abs=1e-5)
        assert path.corrupted == tracer.corrupted
        assert path.reached == (path.recovery >= path.target)


def test_a_search_that_is_stopped_over_few_draws_says_what_its_set_does_over_all(bundled_lm):
    fact = "The Space Needle is in the city of", "The Space Needle"
    tracer = CausalTracer(bundled_lm, *fact, samples=30)
    stop = threading.Event()
    with pytest.raises(Cancelled) as stopped:
        tracer.find_path(0.9, progress=lambda path: stop.set(), cancel=stop)
    assert stopped.value.partial.states
    assert_true(tracer, [stopped.value.partial])


def test_greed_begins_again_without_a_state_that_stands_in_the_way():
    """Whatever A is restored with, it comes to 0.6; the others come to 0.9 together."""

    def measure(sets, check):
        return np.array([0.6 if A in each else 0.3 * len(each) for each in sets])

    path = made_path(measure=measure)
    assert (path.reached, path.scores[-1]) == (False, 0.6)
    again = made_path(0.85, measure=measure, candidates=(A, B, C, D))
    assert again.states == (B, C, D)
    assert again.reached


def test_a_search_that_comes_to_nothing_says_so():
    flat = made_path(measure=lambda sets, check: np.zeros(len(sets)))
    assert (flat.states, flat.scores, flat.reached) == ((), (), False)
    assert flat.recovery == 0
    capped = made_path(share=1.0, most=2)
    assert capped.states == (B, C), "the best of what was tried"
    assert not capped.reached


def test_a_search_can_be_stopped_between_calls_and_says_how_far_it_came():
    flag = threading.Event()
    with pytest.raises(Cancelled, match="after 3 sets") as caught:
        made_path(progress=lambda path: flag.set(), cancel=flag)
    assert caught.value.partial.states == (A,)


def test_a_tracers_search_asks_the_flag_between_batches(monkeypatch):
    tracer, _ = setting()
    monkeypatch.setattr(type(tracer._runs), "tokens_per_call", 1)
    asked = []

    class Flag:
        def is_set(self):
            asked.append(1)
            return len(asked) > 20

    with pytest.raises(Cancelled) as caught:
        tracer.find_path(0.9, cancel=Flag())
    assert len(asked) == 21
    assert caught.value.partial.states == ()


def test_a_severed_tracer_finds_its_own_path():
    tracer, _ = setting("gpt2")
    whole = tracer.find_path(0.6)
    cut = tracer.sever("attn", LAST)
    path = cut.find_path(0.6, among=[(LAST, layer, "hidden") for layer in range(5)])
    check = [cut.restore(path.states[: n + 1]).probability for n in range(len(path.states))]
    assert path.scores == pytest.approx(check)
    assert path.reached
    assert not cut.find_path(0.6).reached, "attention is the last token's only source"
    assert whole.reached


def test_states_to_choose_from_can_be_given_and_what_cannot_matter_is_left_out():
    tracer, _ = setting()
    among = [(0, 2, "hidden"), (3, 4, "mlp"), (1, 1, "hidden"), (-1, 4, "mlp")]
    path = tracer.find_path(0.01, among=among)
    assert set(path.states) <= {State(1, 1, "hidden"), State(LAST, 4, "mlp")}
    one = tracer.find_path(0.01, among=among, kinds="mlp", max_states=1)
    assert set(one.states) <= {State(LAST, 4, "mlp")}
    assert tracer.find_path(among=[(0, 2, "hidden")]).n_restored == 0
    assert tracer.find_path(among=[]).states == ()
    mlps = tracer.find_path(0.3, kinds=["mlp"], max_states=4).states
    assert {state.kind for state in mlps} <= {"mlp"}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"recovery": 0}, "recovery to reach is 0"),
        ({"recovery": 1.01}, "recovery to reach is 1.01"),
        ({"recovery": float("nan")}, "recovery to reach is nan"),
        ({"recovery": "much"}, "recovery to reach is 'much'"),
        ({"max_states": 0}, "max_states is 0"),
        ({"max_states": 2.0}, "max_states is 2.0"),
        ({"kinds": "neuron"}, "no kind 'neuron'"),
        ({"among": [(9, 0, "mlp")]}, "no position 9"),
    ],
)
def test_what_cannot_be_sought_is_refused(options, match):
    with pytest.raises(StateError, match=match):
        setting()[0].find_path(**options)


def test_where_the_corruption_takes_nothing_there_is_nothing_to_seek():
    tracer, arguments = setting()
    idle = CausalTracer(
        tracer.lm, tiny.PROMPT, tiny.SUBJECT, noise=np.zeros_like(arguments[-1].numpy())
    )
    with pytest.raises(StateError, match=r"takes nothing away.*Use more noise") as caught:
        idle.find_path()
    assert caught.value.found
    assert caught.value.wanted
    assert caught.value.remedy


def test_a_changed_model_is_refused():
    tracer, _ = setting()
    weight = tracer.lm.model.get_input_embeddings().weight.data
    saved = weight.clone()
    weight.mul_(2)
    with pytest.raises(ModelChanged):
        tracer.find_path()
    weight.copy_(saved)


# ------------------------------------------------------------------------- the optimum


def some_candidates(tracer, random):
    """The best states by themselves, and as many others."""
    pool = tracer._candidates(tracer.lm.kinds, None)
    alone = tracer._scores([[state] for state in pool], lambda: None)
    best = [pool[i] for i in np.argsort(-alone)[: PATH_CANDIDATES // 2]]
    others = [pool[i] for i in random.choice(len(pool), PATH_CANDIDATES // 2, replace=False)]
    return list(dict.fromkeys([*best, *others]))


def optimum(tracer, candidates):
    """{size: the highest probability of any set of so many states}, for 1 to 3."""
    return {
        size: tracer._scores(list(itertools.combinations(candidates, size)), lambda: None).max()
        for size in (1, 2, 3)
    }


def test_the_path_is_near_the_optimum(bundled_lm):
    """Against every set of up to three of some candidates; whole searches are recorded too."""
    random = np.random.RandomState(0)
    facts = bundled.facts()
    tracers = (
        CausalTracer(bundled_lm, facts[i], samples=4) for i in random.permutation(len(facts))
    )
    told = (tracer for tracer in tracers if tracer.clean - tracer.corrupted > 0.3)
    small = [(family, setting(family)[0]) for family in tiny.FAMILIES]
    cases = [*small, *(("bundled", each) for each in itertools.islice(told, PATH_FACTS))]
    more, behind, missed, sizes, n_restored = [], [], 0, [], []
    for name, tracer in cases:
        candidates = some_candidates(tracer, random)
        best = optimum(tracer, candidates)
        for share in (0.5, 0.9):
            path = tracer.find_path(share, among=candidates)
            smallest = next((n for n in best if best[n] >= enough(tracer, share)), None)
            if path.reached and smallest:
                assert len(path.states) >= smallest
                more.append(len(path.states) - smallest)
                if len(path.states) in best:
                    lead = best[len(path.states)] - path.scores[-1]
                    behind.append(lead / (tracer.clean - tracer.corrupted))
            elif smallest:
                missed += 1
            if name == "bundled":
                whole = tracer.find_path(share)
                assert whole.reached
                sizes.append(len(whole.states))
                n_restored.append(whole.n_restored)
    assert min(behind) >= -1e-5, "a set was better than the best of all sets"
    assert np.mean(np.array(more) == 0) >= 0.8
    assert missed <= 0.2 * len(more)
    write_gate(
        "path",
        {
            "facts of the bundled model": PATH_FACTS,
            "small random models": len(small),
            "compared": len(more),
            "as small as the smallest": float(np.mean(np.array(more) == 0)),
            "states more than the smallest, mean": float(np.mean(more)),
            "states more than the smallest, worst": max(more),
            "recovery behind the best of that size, mean": float(np.mean(behind)),
            "recovery behind the best of that size, worst": float(max(behind)),
            "stopped short although a set of three suffices": missed,
            "all candidates, states of a path": {
                str(n): int(count)
                for n, count in zip(*np.unique(sizes, return_counts=True), strict=True)
            },
            "all candidates, sets tried, median": float(np.median(n_restored)),
        },
    )


# ---------------------------------------------------------------- what is tried, and how much


def many(n=100):
    """States of which number 70 brings most back, then 30, and both are needed."""
    return [State(1, layer, "mlp") for layer in range(n)]


def worth(sets, check):
    table = {70: 0.6, 30: 0.35}
    return np.array([sum(table.get(s.layer, s.layer / 1e6) for s in each) for each in sets])


def test_of_many_states_those_are_tried_that_the_estimate_ranks_highest():
    asked = []

    def estimate(beside, states):
        asked.append(tuple(beside))
        return worth([[state] for state in states], None)

    every = made_path(measure=worth, candidates=many())
    some = made_path(measure=worth, candidates=many(), estimate=estimate)
    assert every.states == some.states == (State(1, 70, "mlp"), State(1, 30, "mlp"))
    assert every.scores == some.scores
    assert every.n_restored - some.n_restored > 100
    assert asked[:2] == [(), (State(1, 70, "mlp"),)]


@pytest.mark.parametrize("estimate", [None, lambda beside, states: None])
def test_without_an_estimate_all_are_tried(estimate):
    path = made_path(0.5, measure=worth, candidates=many(), estimate=estimate)
    assert path.n_restored >= 100


def test_a_wrong_estimate_costs_a_longer_path_and_no_wrong_number():
    path = made_path(
        0.2,
        measure=worth,
        candidates=many(),
        estimate=lambda beside, states: -worth([[s] for s in states], None),
    )
    assert State(1, 70, "mlp") not in path.states
    assert path.score == worth([path.states], None)[0]


@pytest.mark.parametrize("most", [*range(1, 18), 1000])
def test_a_budget_is_kept_and_the_last_set_is_what_there_is(most):
    told = []
    path = made_path(budget=Budget(most, lambda spent, most: told.append((spent, most))))
    assert path.n_restored <= most
    assert told == sorted(told)
    assert all(spent <= at_most == most for spent, at_most in told)
    assert bool(path.states) == (most >= 3), "the first step asks for three"
    assert path.score == made([path.states], lambda: None)[0]
    assert path.reached == (path.score >= 0.9)
    whole = made_path()
    assert (path.states == whole.states) == (most >= 14), "greed, dropping, order"


@pytest.mark.parametrize("most", range(64, 300, 20))
def test_a_budget_that_ends_in_another_start_gives_the_best_set(most):
    """Each start asks for 64 sets; the second one begins without the strongest state."""
    options = {"measure": worth, "candidates": many(), "budget": Budget(most)}
    estimate = functools.partial(lambda beside, states: worth([[s] for s in states], None))
    path = made_path(0.999, 1, estimate=estimate, **options)
    assert path.states == (State(1, 70, "mlp"),)
    assert path.n_restored <= most


@pytest.mark.parametrize("first", [(), (C, A)])
def test_a_search_that_is_stopped_in_another_start_carries_the_best_set(first):
    stop, told = threading.Event(), []

    def tell(path):
        told.append(path)
        if len(path.states) == 1 and len(told) > 2:
            stop.set()

    with pytest.raises(Cancelled) as stopped:
        made_path(1.1, 2, first=first, progress=tell, cancel=stop)
    assert len(told[-1].states) == 1
    assert stopped.value.partial.score == max(path.score for path in told)
    assert len(stopped.value.partial.states) == 2


def test_a_budget_that_few_draws_spend_gives_their_set_over_all():
    """A search over all draws begins with nothing, and may not even get to its first set."""
    lm = tiny.shared_lm("gpt2", scale=40, dtype=torch.float64)
    noise = rw.Noise.absolute(1)
    among = [State(pos, layer, "hidden") for pos in (1, 2) for layer in range(3)]
    ten, tracer = (
        CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, samples=n) for n in (10, 12)
    )
    few = ten.find_path(1, among=among)
    assert len(few.states) > 1
    path = tracer.find_path(1, among=among, budget=few.n_restored + 1)
    assert path.states == few.states
    assert path.n_restored == few.n_restored
    assert_true(tracer, [path])


def test_a_tracers_budget_is_one_for_few_draws_and_all(bundled_lm):
    fact = "The Space Needle is in the city of", "The Space Needle"
    tracer = CausalTracer(bundled_lm, *fact, samples=30)
    path = tracer.find_path(0.9, budget=400)
    assert 128 < path.n_restored <= 400
    assert_true(tracer, [path])
    with pytest.raises(StateError, match="budget is 0"):
        tracer.find_path(budget=0)


def test_an_estimate_is_taken_beside_what_is_restored(monkeypatch):
    """It is the slope at the run in which that is restored, and 0 for what is restored already."""
    tracer, _ = setting("llama")
    few, rest = [State(2, 1, "mlp")], EVERY_CANDIDATE
    beside = tracer._estimate_beside(few, [*rest, *few])
    restored = tracer.restore(few).probability
    assert beside[-1] == pytest.approx(restored, abs=1e-3)
    apart = tracer._estimate_beside([], rest)
    exact = np.array([tracer.restore([*few, s]).probability for s in rest])
    assert np.corrcoef(beside[:-1], exact)[0, 1] > np.corrcoef(apart, exact)[0, 1]


@pytest.mark.parametrize(
    "error",
    [
        UnsupportedModel("Some weights are offloaded."),
        NotImplementedError("derivative for aten::_int_mm is not implemented"),
        RuntimeError("element 0 of tensors does not require grad"),
    ],
)
def test_where_there_is_no_gradient_there_is_no_estimate(monkeypatch, error):
    tracer, _ = setting("gpt2")
    wanted = tracer.find_path(0.9)
    monkeypatch.setattr("rome_widgets.tracing.path.TRIED", 3)

    def fails(*asked):
        raise error

    monkeypatch.setattr("rome_widgets.tracing.tracer.attribution_patching", fails)
    assert tracer.find_path(0.9).states == wanted.states
