"""A model run by `rllib_elmur.model.equations` alone, segment after segment."""

import torch

from rllib_elmur.model.state import State


def run_page(model, x, state, lengths=None):
    """What `ELMUR.forward` returns, by the layers' own equations; rows of (B, T, d)."""
    c, n_rows = model.config, len(x)
    x = model.mark(x, state.clock[:, None] + torch.arange(x.shape[1]))
    lengths = [x.shape[1]] * n_rows if lengths is None else lengths.tolist()
    phase = (state.clock % c.segment_length).tolist()
    rows = [
        torch.cat([state.segment[b, : phase[b]], x[b, : lengths[b]]]).split(c.segment_length)
        for b in range(n_rows)
    ]
    slots = [list(layer) for layer in state.memory.unbind(1)]  # n x B of (M, d)
    anchors = [list(layer) for layer in state.anchors.unbind(1)]  # n x B of (M,)
    context = [list(layer) for layer in state.context.unbind(1)]  # n x B of (W - 1, d)
    outputs = [[] for _ in rows]
    for s in range(max(map(len, rows))):
        for size in range(1, c.segment_length + 1):
            # All rows whose segment s holds `size` tokens.
            these = [b for b, row in enumerate(rows) if s < len(row) and len(row[s]) == size]
            if not these:
                continue
            y = torch.stack([rows[b][s] for b in these])
            begin = torch.tensor([state.clock[b] - phase[b] + s * c.segment_length for b in these])
            for i, layer in enumerate(model.layers):
                kept = slots[i], anchors[i], context[i]
                y, *after = layer(y, begin, *(torch.stack([k[b] for b in these]) for k in kept))
                for part, new in zip(kept, after, strict=True):
                    for b, value in zip(these, new, strict=True):
                        part[b] = value
            for b, row in zip(these, model.final_norm(y), strict=True):
                outputs[b].append(row)
    segment = torch.zeros_like(state.segment)
    for b, row in enumerate(rows):
        if len(row[-1]) < c.segment_length:
            segment[b, : len(row[-1])] = row[-1]
    p = torch.stack([torch.stack(layer) for layer in anchors], dim=1)
    memory = torch.stack([torch.stack(layer) for layer in slots], dim=1)
    y = x.new_zeros(n_rows, x.shape[1], c.d_model)
    for b, row in enumerate(outputs):
        y[b, : lengths[b]] = torch.cat(row)[phase[b] :]
    clock = state.clock + torch.tensor(lengths)
    before = torch.stack([torch.stack(layer) for layer in context], dim=1)
    return y, State(memory.masked_fill((p < 0)[..., None], 0.0), p, clock, segment, before)
