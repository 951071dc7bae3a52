"""An override of the shape that core's Model Sparse Attention makes, in a module and from a function of its names: only
for as many queries as keys, for the rest what it replaces or the override that was there before it."""

import torch

BLOCK = 16


def make_attention_override(patch, previous):
    def override(func, q, k, v, heads, mask=None, attn_precision=None, skip_reshape=False, skip_output_reshape=False,
                 **kwargs):
        patch["calls"].append((q.shape[1], k.shape[1]))
        if q.shape != k.shape:
            options = dict(mask=mask, attn_precision=attn_precision, skip_reshape=skip_reshape,
                           skip_output_reshape=skip_output_reshape, **kwargs)
            return func(q, k, v, heads, **options) if previous is None else previous(func, q, k, v, heads, **options)
        return sparse(q, k, v, heads, patch["kept"])

    return override


def sparse(q, k, v, heads, kept):
    """The keys of each head whose blocks have the largest scores of pooled queries and keys."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, L, 128]
    scores = pooled(q) @ pooled(k).transpose(-1, -2)  # [B, heads, blocks, blocks]
    limit = scores.topk(min(kept, scores.shape[-1]), -1).values[..., -1:]
    chosen = (scores >= limit).repeat_interleave(BLOCK, -1).repeat_interleave(BLOCK, -2)
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=chosen[..., : q.shape[2], : k.shape[2]]).transpose(1, 2).flatten(2)


def pooled(x):
    return torch.stack([part.mean(2) for part in x.split(BLOCK, 2)], 2)
