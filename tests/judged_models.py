"""Reward models whose scores are known: the packaged model with heads fitted to given values of given texts."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from reasonrl.models.load import load_classifier, load_tokenizer
from reasonrl.plugins.builtin import TEMPLATES
from reasonrl.preference.card import HeadScale, RewardModelCard, TemplateCard
from reasonrl.preference.encoding import encoder_of
from reasonrl.preference.model import RewardModel
from reasonrl.types import Problem


def fitted_model(
    items: Sequence[tuple[Problem, str]], values_KN: Sequence[Sequence[float]], **changes: Any
) -> RewardModel:
    """A model whose heads score the items as they are told, as nearly as linear ones can. Any: fields of the card."""
    num_heads = len(values_KN)
    template = TEMPLATES["plain"]
    fields: dict[str, Any] = {
        "kind": "bradley_terry",
        "num_heads": num_heads,
        "template": TemplateCard(name="plain", text=template.text, chat=template.chat),
        "max_length": 256,
        "too_long": "drop",
        "scales": (HeadScale(mean=0.0, std=2.0, p999=100.0),) * num_heads,
        "base_model": "tiny",
    }
    card = RewardModelCard(**{**fields, **changes})
    tokenizer = load_tokenizer("tiny")
    model = RewardModel(
        card=card,
        tokenizer=tokenizer,
        encoder=encoder_of(card, tokenizer),
        model=load_classifier("tiny", torch.device("cpu"), num_labels=num_heads),
        dtype=torch.float32,
    )
    states_ND = _states(model, items)
    wanted_NK = torch.tensor(values_KN, dtype=torch.float64).T
    ridge_DD = 1e-3 * torch.eye(states_ND.shape[1], dtype=torch.float64)
    weights_DK = torch.linalg.solve(states_ND.T @ states_ND + ridge_DD, states_ND.T @ wanted_NK)
    with torch.no_grad():
        cast(nn.Linear, model.model.score).weight.copy_(weights_DK.T)
    return model


def _states(model: RewardModel, items: Sequence[tuple[Problem, str]]) -> torch.Tensor:
    """The last hidden states [N, D] at the ends of texts: what an identity in place of the heads scores."""
    heads = cast(nn.Linear, model.model.score)
    identity = nn.Linear(heads.in_features, heads.in_features, bias=False)
    nn.init.eye_(identity.weight)
    model.model.score = identity
    states_ND = torch.tensor(model.scores(items), dtype=torch.float64)
    model.model.score = heads
    return states_ND
