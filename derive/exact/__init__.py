"""The judge: means compared as identities, witnesses, moments. It imports neither the kernel nor the proofs."""
