"""Causal tracing, slow and obvious: one forward pass per cell, plain hooks, nothing of the engine.

This page is the judge of the engine, so it imports nothing from `rome_widgets`. One pass holds a
clean row and `samples` corrupted rows, as in the published layout; a restored state is copied
from the clean row of the same pass.
"""

import math

import torch


def run(model, names, ids, span, noise, restore=(), seen=None):
    """[samples + 1, vocab] probabilities of the next token; see `logits`."""
    return torch.softmax(logits(model, names, ids, span, noise, restore, seen), dim=-1)


def logits(model, names, ids, span, noise, restore=(), seen=None):
    """One forward pass of samples + 1 rows: row 0 clean, the others corrupted and restored.

    names: {"embedding": module name, "hidden" | "mlp" | "attn": module name with {} for the layer,
        or a function of the layer}; a module may put batch and pos in one axis
    ids: token ids of the prompt; span: half-open span of corrupted positions
    noise: [samples, span, d_model]; or a list of token ids, of another subject: then one sample
    restore: (pos, layer, kind) triples
    seen: {(kind, layer): None}, filled with what is there: [samples + 1, pos, width]
    returns [samples + 1, vocab] logits of the next token
    """
    handles = []
    rows = torch.tensor([list(ids)]).repeat(n_samples(noise) + 1, 1)
    if isinstance(noise, list):
        rows[1:, span[0] : span[1]] = torch.tensor(noise)

    def corrupt(module, args, output):
        output = output.clone()
        if not isinstance(noise, list):
            output[1:, span[0] : span[1]] += noise.to(output)
        return output

    def put_back(pos):
        def hook(module, args, output):
            several = isinstance(output, (tuple, list))
            state = (output[0] if several else output).clone()
            rows = state.view(n_samples(noise) + 1, len(ids), -1)
            rows[1:, pos] = rows[0, pos]
            return type(output)([state, *output[1:]]) if several else state

        return hook

    def look(place):
        def hook(module, args, output):
            state = output[0] if isinstance(output, (tuple, list)) else output
            seen[place] = state.view(n_samples(noise) + 1, len(ids), -1).double()

        return hook

    embedding = model.get_submodule(names["embedding"])
    handles.append(embedding.register_forward_hook(corrupt))
    for pos, layer, kind in restore:
        handles.append(part(model, names, kind, layer).register_forward_hook(put_back(pos)))
    for kind, layer in seen or ():
        handles.append(part(model, names, kind, layer).register_forward_hook(look((kind, layer))))
    try:
        with torch.no_grad():
            return model(input_ids=rows).logits[:, -1].double()
    finally:
        for handle in handles:
            handle.remove()


def n_samples(noise):
    """Of another subject there is one."""
    return 1 if isinstance(noise, list) else len(noise)


def measured(logits, metric, answer, against=None):
    """[...] from [..., vocab] logits: the metric of each run."""
    if metric == "logit_difference":
        return logits[..., answer] - logits[..., against]
    p = torch.softmax(logits, dim=-1)[..., answer]
    return torch.log(p) if metric == "logprob" else p


def scores(model, names, ids, span, noise, restore, *metric):
    """(clean, restored): the metric of the clean run, and its mean over the corrupted rows."""
    rows = measured(logits(model, names, ids, span, noise, restore), *metric)
    return float(rows[0]), float(rows[1:].mean())


def part(model, names, kind, layer):
    """The module whose output are the states of this kind and layer."""
    name = names[kind](layer) if callable(names[kind]) else names[kind].format(layer)
    return model.get_submodule(name)


def restored(model, names, ids, span, noise, restore=()):
    """[vocab]: mean prediction of the corrupted rows with these states restored."""
    return run(model, names, ids, span, noise, restore)[1:].mean(dim=0)


def head(model, names, ids, span, noise, restore, metric, matrix):
    """The metric with one head restored: the last matrix of its attention reads clean numbers.

    restore: (pos, layer, head, width of a head); metric: what `measured` takes after the logits
    matrix: name of that matrix with {} for the layer
    """
    pos, layer, number, width = restore
    own = slice(number * width, (number + 1) * width)

    def hook(module, args):
        read = args[0].clone()
        rows = read.view(n_samples(noise) + 1, len(ids), -1)
        rows[1:, pos, own] = rows[0, pos, own]
        return (read, *args[1:])

    handle = model.get_submodule(matrix.format(layer)).register_forward_pre_hook(hook)
    try:
        return scores(model, names, ids, span, noise, [], *metric)[1]
    finally:
        handle.remove()


def severed(model, names, ids, span, noise, restore, kind, pos, n_layers):
    """[vocab]: the same, with every `kind` output at token `pos` held at its corrupted value.

    Two passes: the first notes the corrupted outputs, the second writes them over whatever the
    restored states would make of them.
    """
    noted, handles = {}, []

    def note(layer):
        def hook(module, args, output):
            noted[layer] = (output[0] if isinstance(output, tuple) else output)[1:, pos].clone()

        return hook

    def hold(layer):
        def hook(module, args, output):
            state = (output[0] if isinstance(output, tuple) else output).clone()
            state[1:, pos] = noted[layer]
            return (state, *output[1:]) if isinstance(output, tuple) else state

        return hook

    for make, states in ((note, ()), (hold, restore)):
        for layer in range(n_layers):
            module = model.get_submodule(names[kind].format(layer))
            handles.append(module.register_forward_hook(make(layer)))
        try:
            predicted = restored(model, names, ids, span, noise, states)
        finally:
            while handles:
                handles.pop().remove()
    return predicted


def window(layer, size, n_layers):
    """The layers restored together around `layer`, as the published code counts them."""
    return range(max(0, layer - size // 2), min(n_layers, layer - (-size // 2)))


def grid(model, names, ids, span, noise, answer, kind, size, n_layers, metric=None):
    """[pos][layer]: probability of `answer` with each place restored, one pass each.

    Or `metric`, a name and the second answer's id.
    """
    name, *against = metric or ("probability",)
    table = []
    for pos in range(len(ids)):
        row = []
        for layer in range(n_layers):
            layers = [layer] if kind == "hidden" else window(layer, size, n_layers)
            states = [(pos, each, kind) for each in layers]
            asked = model, names, ids, span, noise, states, name, answer, *against
            row.append(scores(*asked)[1])
        table.append(row)
    return table


def greedy_path(model, names, ids, span, noise, answer, candidates, share, metric=None):
    """The states that greed takes one after another until so much of the effect is back."""
    name, *against = metric or ("probability",)

    def both(states):
        return scores(model, names, ids, span, noise, states, name, answer, *against)

    clean, corrupted = both([])
    taken, score = [], corrupted
    while score < corrupted + share * (clean - corrupted):
        tried = {state: both([*taken, state])[1] for state in candidates if state not in taken}
        # The first of those that only rounding tells apart.
        best = next(state for state in tried if tried[state] >= max(tried.values()) - 1e-6)
        if tried[best] <= score:
            break
        taken, score = [*taken, best], tried[best]
    return taken, score


def flow(model, names, ids, span, noise, restore, n_layers, scale=1.0):
    """{kind: {"written" | "corrupted" | "restored" | "moved": [pos][layer]}, "noise": [pos]}.

    Root mean squares over the draws, in lengths of the clean hidden state at the same place; what
    attention and MLP put out counts `scale` times.
    """
    kinds = [kind for kind in ("hidden", "mlp", "attn") if kind in names]
    places = [("embedding", 0), *((kind, layer) for kind in kinds for layer in range(n_layers))]
    corrupted, back = dict.fromkeys(places), dict.fromkeys(places)
    run(model, names, ids, span, noise, (), corrupted)
    run(model, names, ids, span, noise, restore, back)

    def length(difference):
        return math.sqrt(sum(float((row**2).sum()) for row in difference) / len(difference))

    def four(place, pos):
        clean = corrupted[place][:1, pos]
        noisy, mended = corrupted[place][1:, pos], back[place][1:, pos]
        return {
            "written": length(clean),
            "corrupted": length(noisy - clean),
            "restored": length(mended - clean),
            "moved": length(mended - noisy),
        }

    table = {kind: {} for kind in kinds}
    for kind in kinds:
        share = 1.0 if kind == "hidden" else scale
        for what in ("written", "corrupted", "restored", "moved"):
            table[kind][what] = [
                [
                    share * four((kind, at), pos)[what] / four(("hidden", at), pos)["written"]
                    for at in range(n_layers)
                ]
                for pos in range(len(ids))
            ]
    embedded = [four(("embedding", 0), pos) for pos in range(len(ids))]
    return table | {"noise": [each["corrupted"] / each["written"] for each in embedded]}


def lens(model, names, ids, span, noise, restore, n_layers, of=lambda rows: rows.softmax(-1)):
    """{"clean" | "corrupted" | "restored": [layer, vocab]}: a whole pass for each layer.

    In that pass the last block puts out, at the last token, what this layer did. `of` makes of
    [row, vocab] logits what is averaged over the draws.
    """
    said = {"clean": [], "corrupted": [], "restored": []}
    for runs, states in ((("clean", "corrupted"), ()), (("restored",), restore)):
        seen = {("hidden", layer): None for layer in range(n_layers)}
        run(model, names, ids, span, noise, states, seen)
        for layer in range(n_layers):
            last = seen["hidden", layer][:, -1]

            def put(module, args, output, last=last):
                several = isinstance(output, (tuple, list))
                state = (output[0] if several else output).clone()
                state[:, -1] = last.to(state)
                return type(output)([state, *output[1:]]) if several else state

            handle = part(model, names, "hidden", n_layers - 1).register_forward_hook(put)
            try:
                rows = of(logits(model, names, ids, span, noise))
            finally:
                handle.remove()
            if "clean" in runs:
                said["clean"].append(rows[0])
            said[runs[-1]].append(rows[1:].mean(dim=0))
    return {name: torch.stack(layers) for name, layers in said.items()}


def draws(seed, samples, n_tokens, d_model, std):
    """The published draws: one fresh random state per prompt."""
    import numpy as np

    values = np.random.RandomState(seed).randn(samples, n_tokens, d_model)
    return torch.from_numpy(values * std)


def sigma(model, names, token_lists):
    """Standard deviation of the embeddings of subjects, each encoded alone, all pooled."""
    embedding = model.get_submodule(names["embedding"])
    vectors = [embedding(torch.tensor(ids)).detach().double() for ids in token_lists]
    pooled = torch.cat(vectors).flatten()
    return math.sqrt(((pooled - pooled.mean()) ** 2).sum() / (len(pooled) - 1))
