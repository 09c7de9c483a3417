"""Looks at the software environment of a notebook: traces it, locks it, keeps secrets out, and says what has drifted.

environment.look        the installed distributions, asked of the kernel's own interpreter
lock.lock               what exactly runs, with hashes -> model.env.Lock
wheels.Vendor           the wheels themselves, kept by digest
tracer.trace            one execution seen from outside -> model.env.Seen, per cell
secrets                 what never travels
sbom, pylock            the lock in the words of CycloneDX and PEP 751
split, packs            the notebook in parts, and one .rpz per part
drift                   what would be resolved today
"""
