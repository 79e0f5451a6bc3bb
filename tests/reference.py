"""ELMUR's equations as plain loops in float64.

One row, one token, one head, one slot at a time, with absolute integer positions and the general
LRU rule. Written from the equations; it shares with the model the parameters and their names.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

EMPTY = -1


@dataclass
class Row:
    """The state of one episode.

    Attributes:
        memory: Content of each layer's slots, n x M vectors.
        anchors: When each was last written, n x M integers, -1 if never.
        clock: Time steps seen.
        segment: Tokens of the unfinished segment.
        context: What the last W - 1 tokens before it brought to each layer, n lists.
    """

    memory: list
    anchors: list
    clock: int
    segment: list
    context: list


class PlainELMUR:
    """The model's parameters under the literal equations."""

    def __init__(self, elmur):
        self.options = elmur.config
        self.parameters = {
            name: parameter.detach().double().numpy()
            for name, parameter in elmur.named_parameters()
        }

    def row(self, state, b):
        """Row b of a model's state."""
        phase = int(state.clock[b]) % self.options.segment_length
        begin, n_before = int(state.clock[b]) - phase, state.context.shape[2]
        return Row(
            memory=[[np.array(m, float) for m in layer] for layer in state.memory[b].tolist()],
            anchors=[list(layer) for layer in state.anchors[b].tolist()],
            clock=int(state.clock[b]),
            segment=[np.array(t, float) for t in state.segment[b, :phase].tolist()],
            context=[
                [np.array(t, float) for t in layer[max(0, n_before - begin) :].tolist()]
                for layer in state.context[b]
            ],
        )

    def run(self, tokens, row):
        """Feeds (T, d) tokens to an episode; returns T outputs and the episode's new state."""
        options, layers = self.options, range(self.options.n_layers)
        n_open = len(row.segment)
        anchors = [list(layer) for layer in row.anchors]
        memory = [
            [
                self[f"layers.{i}.initial_memory"][j] if anchors[i][j] == EMPTY else content
                for j, content in enumerate(row.memory[i])
            ]
            for i in layers
        ]
        segment, to_write = [], [[] for _ in layers]
        came_in = [list(before) for before in row.context]
        position, context = row.clock - n_open, row.context
        outputs = []
        new = [np.array(t, float) for t in tokens.tolist()]
        if options.mark_start and row.clock == 0:
            new[:1] = [token + self["start"] for token in new[:1]]
        for token in [*row.segment, *new]:
            segment.append(token)
            y = token
            for i in layers:
                name = f"layers.{i}.attend_residual.before"
                came_in[i].append(self.norm(name, y) if options.norm_first else y)
                h, y = self.token_track(i, y, came_in[i], position, memory[i], anchors[i])
                to_write[i].append(h if options.write_before_read else y)
            outputs.append(self.norm("final_norm", y) if options.norm_first else y)
            position += 1
            if position % options.segment_length == 0:
                for i in layers:
                    self.memory_track(i, to_write[i], position - 1, memory[i], anchors[i])
                segment, to_write = [], [[] for _ in layers]
                n_before = 0 if options.attention_window is None else options.attention_window - 1
                came_in = [tokens[max(0, len(tokens) - n_before) :] for tokens in came_in]
                context = came_in
        return outputs[n_open:], Row(memory, anchors, position, segment, [list(c) for c in context])

    def token_track(self, i, token, tokens, position, memory, anchors):
        """Equations 1, and 1 to 3, for the newest of the open segment's tokens."""
        layer = f"layers.{i}"
        h = self.residual(
            f"{layer}.attend_residual",
            token,
            lambda query: self.attend_to_segment(layer, query, tokens),
        )
        slots = [
            (m, None if p == EMPTY else position - p) for m, p in zip(memory, anchors, strict=True)
        ]
        read = self.residual(
            f"{layer}.read_residual",
            h,
            lambda query: self.cross_attend(f"{layer}.mem2tok", layer, query, slots),
        )
        return h, self.residual(
            f"{layer}.ffn_residual", read, lambda x: self.feed_forward(f"{layer}.ffn", x)
        )

    def memory_track(self, i, tokens, last_position, memory, anchors):
        """Equations 4 to 7: every slot's update, of which the LRU rule takes one."""
        layer, options = f"layers.{i}", self.options
        first_position = last_position - len(tokens) + 1
        updates = []
        for m, p in zip(memory, anchors, strict=True):
            seen = [
                (h, None if p == EMPTY else p - (first_position + t)) for t, h in enumerate(tokens)
            ]
            u = self.residual(
                f"{layer}.write_residual",
                m,
                lambda query, seen=seen: self.cross_attend(f"{layer}.tok2mem", layer, query, seen),
            )
            u = self.residual(
                f"{layer}.memory_ffn_residual",
                u,
                lambda x: self.feed_forward(f"{layer}.memory_ffn", x),
            )
            updates.append(self.norm(f"{layer}.memory_norm", u) if options.norm_first else u)
        if EMPTY in anchors:
            j = anchors.index(EMPTY)
            new = updates[j]
        else:
            j = anchors.index(min(anchors))
            new = options.lru_blend * updates[j] + (1 - options.lru_blend) * memory[j]
        memory[j] = new if options.memory_levels is None else rounded(new, options.memory_levels)
        anchors[j] = last_position

    def attend_to_segment(self, layer, query, tokens):
        """Self-attention of the newest token: content and relative distance (Transformer-XL)."""
        if self.options.attention_window is not None:
            tokens = tokens[-self.options.attention_window :]
        d, size = self.options.d_model, self.options.d_model // self.options.n_heads
        name = f"{layer}.self_attention"
        weight = self[f"{name}.qkv.weight"]
        merged = np.zeros(d)
        for head in range(self.options.n_heads):
            own = slice(head * size, (head + 1) * size)
            w_q, w_k, w_v = weight[:d][own], weight[d : 2 * d][own], weight[2 * d :][own]
            u = self[f"{name}.content_bias"][head, 0]
            v = self[f"{name}.position_bias"][head, 0]
            q = w_q @ query
            logits = []
            for j, token in enumerate(tokens):
                r = self[f"{name}.distance_keys"][head, len(tokens) - 1 - j]
                logits.append(((q + u) @ (w_k @ token) + (q + v) @ r) / math.sqrt(size))
            for share, token in zip(softmax(logits), tokens, strict=True):
                merged[own] += share * (w_v @ token)
        return self[f"{name}.out.weight"] @ merged

    def cross_attend(self, name, layer, query, sources):
        """Attention to (vector, distance) pairs, where no distance stands for an empty slot."""
        d, size = self.options.d_model, self.options.d_model // self.options.n_heads
        reach = self.options.memory_slots * self.options.segment_length
        table = self.distance_table(f"{layer}.distance_bias.learned")
        projected = self[f"{name}.query.weight"] @ query
        merged = np.zeros(d)
        for head in range(self.options.n_heads):
            own = slice(head * size, (head + 1) * size)
            logits, values = [], []
            for source, distance in sources:
                key_value = self[f"{name}.key_value.weight"] @ source
                if distance is None:
                    bias = table[2 * reach + 1, head]
                else:
                    bias = table[max(-reach, min(reach, distance)) + reach, head]
                logits.append(projected[own] @ key_value[:d][own] / math.sqrt(size) + bias)
                values.append(key_value[d:][own])
            for share, value in zip(softmax(logits), values, strict=True):
                merged[own] += share * value
        return self[f"{name}.out.weight"] @ merged

    def distance_table(self, name):
        """The logits of all distances, and of an empty slot."""
        options = self.options
        learned = self.waves(name) if options.rotate_distances else self[f"{name}.rows"]
        table = options.distance_scale * learned
        if options.read_empty_slots:
            return table
        return np.concatenate([table, np.full((1, options.n_heads), -60.0)])

    def waves(self, name):
        """Logits that are sums of waves, each as high as its coordinate says."""
        coordinates = self[f"{name}.coordinates"]
        n = len(coordinates)
        table = np.zeros(coordinates.shape)
        for i in range(n):
            sign = (-1) ** sum(pair == "11" for pair in map("".join, pairwise(f"{i:b}")))
            for k in range(n):
                height = math.sqrt((1 if k == 0 else 2) / n)
                wave = height * math.cos(math.pi * (2 * i + 1) * k / (2 * n))
                table[i] += sign * wave * coordinates[k]
        return table

    def residual(self, name, x, block):
        """Norm(x + block(x)), or x + block(Norm(x)) with `norm_first`."""
        if self.options.norm_first:
            return x + block(self.norm(f"{name}.before", x))
        return self.norm(f"{name}.after", x + block(x))

    def norm(self, name, x):
        """Layer normalisation."""
        centred = x - x.sum() / len(x)
        scaled = centred / math.sqrt((centred**2).sum() / len(x) + 1e-5)
        return scaled * self[f"{name}.weight"] + self[f"{name}.bias"]

    def feed_forward(self, name, x):
        """Linear, ReLU, linear."""
        hidden = self[f"{name}.0.weight"] @ x + self[f"{name}.0.bias"]
        return self[f"{name}.2.weight"] @ np.maximum(hidden, 0)

    def __getitem__(self, name):
        return self.parameters[name]


def softmax(logits):
    """Shares of a list of logits."""
    exponentials = [math.exp(logit - max(logits)) for logit in logits]
    return [e / sum(exponentials) for e in exponentials]


def grid(levels):
    """The values of a memory of so many levels: integers around 0, odd ones if levels is even."""
    if levels % 2:
        return list(range(-(levels // 2), levels // 2 + 1))
    return list(range(1 - levels, levels, 2))


def rounded(x, levels):
    """Each entry's nearest value of the grid."""
    return np.array([min(grid(levels), key=lambda value: abs(value - entry)) for entry in x], float)
