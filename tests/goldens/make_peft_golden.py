"""Write what PEFT computes with an adapter that we exported, for tests that have no torch.

    python make_peft_golden.py BASE ADAPTER OUT

Made with torch 2.13.0 (CPU), transformers 5.23.0 and peft 0.21.2. BASE is a folder of ``torch/``
and ADAPTER one that ``stepcoder_jax.model.peft_folder`` wrote (``model/test_peft_folder.py`` says
which; run as a script it writes that one). OUT gets an ``.npz`` of tokens and of the logits of
the ``PeftModel``, computed in float32.
"""

import sys

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def main(base: str, adapter: str, out: str) -> None:
    """Load both, run one batch."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain = model.eval()
    torch.manual_seed(1)
    tokens = torch.randint(0, model.config.vocab_size, (2, 9))
    with torch.no_grad():
        base_logits = plain(tokens).logits
        logits = PeftModel.from_pretrained(model, adapter).eval()(tokens).logits
    print(f"the adapter moves logits by up to {(logits - base_logits).abs().max():.3f}")
    np.savez_compressed(out, tokens=tokens.numpy(), logits=logits.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
