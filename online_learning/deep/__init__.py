"""Deep models: embeddings of ids that come and go, and nets over them. Needs the extra `deep`."""

import os

# MKL may add a row up in another order at another address: then a row's place in a batch, or the
# memory that a run happened to get, would change bits. [Measured on an EPYC with AVX-512, torch
# 2.15: layers of up to 11 outputs; told so, none, at the same speed.] It reads this at first use.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
