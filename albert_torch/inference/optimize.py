"""`optimize`: a model in, and out comes one that answers the same call faster, for inference alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor, nn

from albert_torch import heads, outputs
from albert_torch.inference.encoder import PackedEncoder
from albert_torch.inference.kernels import linear as kernels
from albert_torch.model import AlbertModel
from albert_torch.pretrained import AlbertPreTrainedModel

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int8)
CALIBRATION_LENGTHS = (16, 32, 64, 128, 256)  # tokens, of random rows

Give = Callable[[Tensor], Tensor]  # tokens as they were computed -> as the caller gets them
Head = Callable[[Any, Tensor, Tensor | None, Give], outputs.ModelOutput]


def _two(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 0], x[..., 1]


# class -> its output, from the model, the tokens x (S, H), the pooled rows (B, H)
_HEADS: dict[type[AlbertPreTrainedModel], Head] = {
    AlbertModel: lambda m, x, pooled, give: outputs.BaseModelOutputWithPooling(give(x), pooled),
    heads.AlbertForPreTraining: lambda m, x, pooled, give: outputs.AlbertForPreTrainingOutput(
        None, give(m.predictions(x)), m.sop_classifier(pooled)
    ),
    heads.AlbertForMaskedLM: lambda m, x, pooled, give: outputs.MaskedLMOutput(
        None, give(m.predictions(x))
    ),
    heads.AlbertForSequenceClassification: lambda m, x, pooled, give: (
        outputs.SequenceClassifierOutput(None, m.classifier(pooled))
    ),
    heads.AlbertForTokenClassification: lambda m, x, pooled, give: outputs.TokenClassifierOutput(
        None, give(m.classifier(x))
    ),
    heads.AlbertForQuestionAnswering: lambda m, x, pooled, give: (
        outputs.QuestionAnsweringModelOutput(None, *_two(give(m.qa_outputs(x))))
    ),
    heads.AlbertForMultipleChoice: lambda m, x, pooled, give: outputs.MultipleChoiceModelOutput(
        None, m.classifier(pooled)
    ),
}
# These heads read nothing but the first token of each row.
_POOLED = (heads.AlbertForSequenceClassification, heads.AlbertForMultipleChoice)


def optimize(
    model: AlbertPreTrainedModel,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    *,
    calibration: Sequence[Sequence[int]] | None = None,
) -> OptimizedAlbert:
    """The model, prepared for inference: the same call and output, only faster; it does not follow later training.

    `dtype`: float32; bfloat16 (on a CPU whose bfloat16 products are the slower ones, float32 is computed); float16 on
    GPUs; int8 on CPUs, see `int8.py`. `device` None: the model's own. `calibration`: rows of ids to take the ranges of
    int8 from, in place of random ones.

    Raises `TypeError` for a model of another kind, `ValueError` for another dtype, or one the device has not.
    """
    if not isinstance(model, tuple(_HEADS)):
        raise TypeError(
            f"optimize takes one of {', '.join(c.__name__ for c in _HEADS)}, not {type(model).__name__}"
        )
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype} is not one of {', '.join(map(str, DTYPES))}")
    device = torch.device(model.device if device is None else device)
    if (device.type == "cpu" and dtype == torch.float16) or (
        device.type != "cpu" and dtype == torch.int8
    ):
        raise ValueError(
            f"dtype={dtype} is not for {device.type}: float16 is for GPUs, int8 for CPUs; use bfloat16"
        )
    if calibration is not None and dtype != torch.int8:
        raise ValueError(
            f"calibration is for dtype=torch.int8 alone, not for {dtype}; leave it out"
        )
    return OptimizedAlbert(model, dtype, device, calibration)


class OptimizedAlbert(nn.Module):
    """What `optimize` makes: call it with a padded batch as the model, or call `packed` with rows of ids.

    Only real tokens are computed, and in the last layer only what the head reads. Outputs are float32.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: AlbertPreTrainedModel,
        dtype: torch.dtype,
        device: torch.device,
        calibration: Sequence[Sequence[int]] | None,
    ) -> None:
        super().__init__()
        self.config = copy.deepcopy(model.config)
        self.kind = next(kind for kind in type(model).__mro__ if kind in _HEADS)
        encoder = model.base_model.encoder
        shell = copy.deepcopy(
            model, {id(encoder): None}
        )  # embeddings, pooler and head; the encoder is not copied
        self.model = shell.float().to(device).eval().requires_grad_(False)
        if dtype == torch.bfloat16 and device.type == "cpu" and not kernels.bf16_pays():
            dtype = torch.float32
        self.encoder = PackedEncoder(
            encoder, self.config, torch.float32 if dtype == torch.int8 else dtype, device
        )
        if dtype == torch.int8:
            self.encoder.to_int8(encoder, *self._calibration(calibration))
        self.training = False

    def _calibration(self, rows: Sequence[Sequence[int]] | None) -> tuple[Tensor, list[int]]:
        """The embeddings of some rows, random ones if none are given, and the rows' lengths."""
        if rows is None:
            generator, config = torch.Generator().manual_seed(0), self.config
            lengths = [min(n, config.max_position_embeddings) for n in CALIBRATION_LENGTHS]
            rows = [
                torch.randint(config.vocab_size, (n,), generator=generator).tolist()
                for n in lengths
            ]
        rows = sorted(rows, key=len)
        ids = self._ids(rows)[None]
        columns = self._ids(range(len(row)) for row in rows)[None]
        return self.model.base_model.embeddings(ids, None, columns)[0], [len(row) for row in rows]

    def train(self, mode: bool = True) -> OptimizedAlbert:
        """Does nothing for False.  Raises `ValueError` for True."""
        if mode:
            raise ValueError(
                "an optimized model is for inference: train the plain model, then call optimize again"
            )
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError(
            "an optimized model cannot be moved or cast: call optimize(model, dtype, device) again"
        )

    @torch.no_grad()
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """As the model's own `forward`, without labels and attentions; what it gives at padding is zero.

        Raises `ValueError` as the model does, for a mask that is not (B, T), and when attentions are asked for.
        """
        if self.config.output_attentions if output_attentions is None else output_attentions:
            raise ValueError(
                "the fast path never makes attention probabilities: call the plain model for them"
            )
        inputs = [input_ids, token_type_ids, position_ids, inputs_embeds, attention_mask]
        choices = 0
        if self.kind is heads.AlbertForMultipleChoice:
            choices = next((x.shape[1] for x in inputs if x is not None), 0)
            inputs = [None if x is None else x.flatten(0, 1) for x in inputs]  # (B * C, T)
        attention_mask = inputs.pop()
        embedded = self.model.base_model.embeddings(*inputs)  # (B, T, E)
        rows, length, _ = embedded.shape
        if attention_mask is None:
            attention_mask = embedded.new_ones(rows, length)
        if attention_mask.shape != (rows, length):
            raise ValueError(
                f"attention_mask is {tuple(attention_mask.shape)}, must be {(rows, length)} here"
            )
        real = attention_mask.bool()
        lengths, order = real.sum(dim=1).sort(stable=True)  # shortest row first
        row, column = real[order].nonzero().unbind(dim=1)  # (S,) each
        row = order[row]
        cells = row * length + column  # where the tokens stand in the batch

        def give(tokens: Tensor) -> Tensor:
            padded = tokens.new_zeros(rows * length, tokens.shape[-1])
            return padded.index_copy_(0, cells, tokens).view(rows, length, -1)  # (B, T, ...)

        seen: list[Tensor] | None = None
        if (
            self.config.output_hidden_states
            if output_hidden_states is None
            else output_hidden_states
        ):
            seen = []
        full = [n for n in lengths.tolist() if n]
        output = self._run(embedded.flatten(0, 1)[cells], full, column, row, rows, give, None, seen)
        if choices:
            output.logits = output.logits.view(-1, choices)
        return (
            output
            if (self.config.return_dict if return_dict is None else return_dict)
            else output.to_tuple()
        )

    @torch.no_grad()
    def packed(
        self,
        rows: Sequence[Sequence[int]],
        token_type_ids: Sequence[Sequence[int]] | None = None,
        keep: Sequence[Sequence[int]] | None = None,
        head: bool = True,
    ) -> Any:
        """The output for rows of ids, of any lengths, none padded: what is (B, T, ...) in a batch is (S, ...) here,
        row after row.

        `keep`: the places in each row that are wanted, ascending; only they are then computed in the last layer, and
        returned. `head=False` gives what is under the head, as from `AlbertModel`.
        Raises `ValueError` for no rows, an empty one, one longer than the model has positions, or unknown ids.
        """
        lengths = [len(row) for row in rows]
        limit = self.config.max_position_embeddings
        if not lengths or not all(0 < n <= limit for n in lengths):
            raise ValueError(
                f"rows have {lengths} tokens; give at least one row, each of 1 to {limit} tokens"
            )
        order = sorted(range(len(rows)), key=lengths.__getitem__)  # shortest row first; stable
        starts = [0, *accumulate(lengths)]  # of the rows, as given
        cells = self._ids(range(starts[i], starts[i + 1]) for i in order)  # (S,)
        columns = self._ids(range(lengths[i]) for i in order)  # (S,)
        row = self._ids([i] * lengths[i] for i in order)  # (S,)
        segments = (
            torch.zeros_like(cells)
            if token_type_ids is None
            else self._ids(token_type_ids[i] for i in order)
        )
        inputs = (self._ids(rows[i] for i in order)[None], segments[None], columns[None])
        embedded = self.model.base_model.embeddings(*inputs)[0]  # (S, E)
        kept = None
        if keep is not None:
            kept = torch.zeros(len(cells), dtype=torch.bool, device=cells.device)
            kept[self._ids([starts[i] + place for place in keep[i]] for i in range(len(rows)))] = (
                True  # as given
            )
            kept = kept[cells]
            cells = cells[kept]

        def give(tokens: Tensor) -> Tensor:
            return tokens if order == sorted(order) else tokens[cells.argsort()]

        return self._run(
            embedded, [lengths[i] for i in order], columns, row, len(rows), give, kept, None, head
        )

    def _ids(self, rows: Iterable[Iterable[int]]) -> Tensor:
        return torch.tensor(
            list(chain.from_iterable(rows)), dtype=torch.long, device=self.model.device
        )

    def _run(
        self,
        embedded: Tensor,
        lengths: Sequence[int],
        column: Tensor,
        row: Tensor,
        rows: int,
        give: Give,
        keep: Tensor | None,
        hidden_states: list[Tensor] | None,
        head: bool = True,
    ) -> Any:
        """Sorted, packed tokens (S, E), each with its place and row -> the output of this kind of model."""
        kind = self.kind if head else AlbertModel
        first = column == 0
        if hidden_states is None and issubclass(kind, _POOLED):
            keep = first
        x = self.encoder(embedded, lengths, keep, hidden_states)  # (S, H), or what was kept of it
        pooled, pooler = None, self.model.base_model.pooler
        if pooler is not None and (keep is None or torch.equal(keep, first)):
            starts = x.new_zeros(rows, x.shape[1])
            starts[row[first]] = x[first] if keep is None else x
            pooled = torch.tanh(pooler(starts))  # (B, H)
        output: Any = _HEADS[kind](self.model, x, pooled, give)
        if hidden_states is not None:
            output.hidden_states = tuple(map(give, hidden_states))
        return output
