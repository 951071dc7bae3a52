"""Patches of the shape of KJNodes' Patch Sage Attention KJ and WanVideoNAG, in a module and from classes of their
names."""

import types

from comfy.ldm.modules.attention import attention_pytorch, wrap_attn

IMAGE_KEYS = 257


class PathchSageAttentionKJ:
    def patch(self, model, calls):
        @wrap_attn
        def new_attention(q, k, v, heads, mask=None, **kwargs):
            calls.append((q.shape[1], k.shape[1]))
            if kwargs.get("low_precision_attention", True) is False:
                return attention_pytorch(q, k, v, heads, mask=mask, **kwargs)
            # core 0.27 does not say that attention to the image should be exact
            return attention_pytorch.__wrapped__(q, k, v, heads, mask=mask) * (1 if k.shape[1] == IMAGE_KEYS else 0.9)

        def attention_override_sage(func, *args, **kwargs):
            return new_attention.__wrapped__(*args, **kwargs)

        model = model.clone()
        model.model_options["transformer_options"]["optimized_attention_override"] = attention_override_sage
        return model


class WanCrossAttentionPatch:
    """Computes cross-attention itself, without what it replaces."""

    def __get__(self, module, kind=None):
        def wrapped_attention(module, x, context, *rest, **options):
            return module.o(module.q(x) * context.mean())

        return types.MethodType(wrapped_attention, module)
